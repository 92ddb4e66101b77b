"""A package offers submodules, and what is in them, that are imported at their first use."""

from __future__ import annotations

import importlib
import sys
import threading
from types import FunctionType, ModuleType

import pytest

from codoperf_otel import lazy_imports
from codoperf_otel._telemetry import names

INIT = """
from typing import TYPE_CHECKING
from codoperf_otel import lazy_imports

if TYPE_CHECKING:
    from put_off import inner as inner, missing as missing
    from put_off.edges import sobel as sobel

eager = 1
lazy_imports(globals(), __name__, {names})
"""
FILES = {
    "inner.py": "value = 1\n",
    "edges.py": "from put_off import inner\ndef sobel(): return inner.value\n",
    "twin.py": "def twin(): return 'twin'\n",
    "x/__init__.py": "",
    "x/sub.py": "def x(): return 'x'\n",
    "failing.py": "raise LookupError('inside')\n",
    "slow.py": "import time\ntime.sleep(0.05)\nvalue = 1\n",
    "circle.py": "early = 1\nimport put_off\nput_off.early\nraise LookupError('late')\n",
}
NAMES = ["inner", "missing", "failing", "edges:sobel", "edges:nothing", "twin:twin", "x.sub:x"]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Makes and imports the package `put_off` with an `__init__`; it is forgotten after the test."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(init: str = INIT.format(names=NAMES)) -> ModuleType:
        for name, text in {"__init__.py": init, **FILES}.items():
            path = tmp_path / "put_off" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        importlib.invalidate_caches()
        return importlib.import_module("put_off")

    yield make
    for name in [name for name in sys.modules if name.partition(".")[0] == "put_off"]:
        del sys.modules[name]


def test_nothing_is_imported_before_the_first_use(package):
    """A submodule, and a function of another, are imported when they are asked for, and then stay."""
    put_off = package()
    assert not [name for name in sys.modules if name.startswith("put_off.")]
    assert put_off.inner is sys.modules["put_off.inner"]
    assert "put_off.edges" not in sys.modules
    assert put_off.sobel() == 1
    assert put_off.sobel is vars(put_off)["sobel"] is sys.modules["put_off.edges"].sobel


def test_imports_of_every_form_work(package):
    """`from` imports, star imports and imports of submodules find what they find in any package."""
    package(INIT.format(names=["inner", "edges:sobel"]))
    found: dict = {}
    exec("from put_off import inner, sobel\nimport put_off.edges", found)
    assert (found["inner"].value, found["sobel"]()) == (1, 1)
    exec("from put_off import *", star := {})
    assert {"inner", "sobel"} <= set(star)
    with pytest.raises(ImportError, match="nothing"):
        exec("from put_off import nothing", {})


def test_names_are_listed_in_copies(package):
    """`__all__` and `dir` have every name once, and a list that was changed changes nothing."""
    put_off = package()
    assert put_off.__all__ == ["failing", "inner", "missing", "nothing", "sobel", "twin", "x"]
    assert {"eager", *put_off.__all__} <= set(dir(put_off))
    dir(put_off).append("changed")
    put_off.__all__.append("changed")
    assert "changed" not in dir(put_off)


def test_errors_are_those_of_an_import(package):
    """Unknown names are AttributeErrors, missing modules ImportErrors; what a module raises is unchanged."""
    put_off = package()
    with pytest.raises(AttributeError, match="module 'put_off' has no attribute 'unknown'"):
        put_off.unknown  # noqa: B018
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match=r"put_off\.missing"):
            put_off.missing  # noqa: B018
    with pytest.raises(AttributeError, match=r"'put_off\.edges' has no attribute 'nothing'"):
        put_off.nothing  # noqa: B018
    with pytest.raises(LookupError, match="inside"):
        put_off.failing  # noqa: B018


@pytest.mark.parametrize("name", ["twin", "x"])
@pytest.mark.parametrize("first", [None, "put_off.twin", "put_off.x.sub"])
def test_submodule_does_not_hide_a_function_of_its_name(package, name, first):
    """A function that is called as the module or package that it is in stays, whichever came first."""
    put_off = package()
    if first is not None:
        importlib.import_module(first)
    for _ in range(2):
        assert isinstance(getattr(put_off, name), FunctionType)
        assert getattr(put_off, name)() == name


def test_rebound_name_is_seen(package):
    """What a program puts in the place of a name is there, also where a submodule is called so."""
    put_off = package()
    put_off.twin = put_off.inner = 5
    assert (put_off.twin, put_off.inner) == (5, 5)
    del put_off.twin
    assert put_off.twin() == "twin"


def test_what_was_there_before_is_kept(package):
    """An `__all__` and a `__getattr__` of the package itself go on for what is not listed."""
    before = "__all__ = ['eager']\ndef __getattr__(name): return name.upper()\n"
    put_off = package(before + INIT.format(names=["inner"]))
    assert put_off.__all__ == ["eager", "inner"]
    assert put_off.other == "OTHER"
    assert put_off.inner.value == 1


def test_first_use_is_reported(package, telemetry):
    """The span that needed it has the event of a lazy load, once."""
    put_off = package()
    with telemetry.tracer.start_as_current_span("work"):
        assert put_off.inner is put_off.inner
    (event,) = telemetry.span("work").events
    assert event.name == names.LAZY_LOAD_EVENT
    assert event.attributes[names.MODULE_NAME] == "put_off.inner"


def test_threads_that_race_report_once(package, telemetry):
    """Threads that use a name first at the same time have one load, and one record of it."""
    put_off = package(INIT.format(names=["slow"]))
    barrier, found = threading.Barrier(8), []

    def use():
        barrier.wait()
        found.append(put_off.slow.value)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1] * 8
    assert list(telemetry.values(names.LAZY_LOAD_DURATION).values()) == [1]


def test_submodule_that_fails_when_it_is_half_made_is_not_kept(package):
    """What a failing module's own circle of imports has seen of it is tried again at the next use."""
    put_off = package(INIT.format(names=["circle:early"]))
    for _ in range(2):
        with pytest.raises(LookupError, match="late"):
            put_off.early  # noqa: B018


@pytest.mark.parametrize("name", ["", ":", ".inner", "a:b:c", "a b", "a:"])
def test_wrong_name_is_refused(name):
    """What is neither a submodule nor a name in one is an error that shows it."""
    with pytest.raises(ValueError, match=r'lazy_imports takes "submodule" and "submodule:name", not'):
        lazy_imports({}, "put_off", [name])


def test_one_text_is_refused():
    """A name without a list around it would be taken for the names of its letters."""
    with pytest.raises(ValueError, match="lazy_imports takes a list of names, not 'filters'"):
        lazy_imports({}, "put_off", "filters")
