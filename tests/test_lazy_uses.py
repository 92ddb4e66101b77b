"""A loader does what the module would, wherever Python lets a module be used; nested loads add up."""

from __future__ import annotations

import copy
import doctest
import importlib
import importlib.resources
import inspect
import pickle
import subprocess
import sys
import threading
import time
import typing
from types import ModuleType
from unittest import mock

import fresh_memory  # noqa: F401  # loaded before the lazy module that uses it
import pytest

from codoperf_otel import is_loaded, lazy_import, load_module
from codoperf_otel._imports import lazy_loads
from codoperf_otel._telemetry import names
from codoperf_otel.lazy_loader import LazyLoader, get_lazy_loader

SOURCE = '''
"""About used.

>>> double(2)
4
"""

class Error(Exception):
    pass

class Thing:
    pass

def double(number):
    """Twice as much.

    >>> double(1)
    2
    """
    return number * 2

value = 1
'''


@pytest.fixture
def used(module_folder) -> LazyLoader:
    """A loader of a module with a class, an error, a function and a value."""
    (module_folder / "used.py").write_text(SOURCE)
    importlib.invalidate_caches()
    return lazy_import("used")


# functions on loaders


def test_load_module_is_the_module_itself(used):
    """What needs the very module gets it, and it is imported by that."""
    assert not is_loaded(used)
    module = load_module(used)
    assert type(module) is ModuleType
    assert module is sys.modules["used"]
    assert is_loaded(used)
    assert importlib.reload(load_module(used)) is module


def test_load_module_of_a_missing_module_is_its_import_error():
    """A module that does not exist is an ImportError here too."""
    loader = lazy_import("no_such_module_here")
    with pytest.raises(ModuleNotFoundError, match="no_such_module_here"):
        load_module(loader)
    assert not is_loaded(loader)


@pytest.mark.parametrize("missing", ["no_such_package", "no_such_package.inner"])
def test_install_hint_is_in_the_error(missing):
    """A missing module's error names what to install, for its package too, each time, and in a pickle."""
    loader = LazyLoader(missing, install_hint="that-project[all]")
    for one in (loader, copy.copy(loader), pickle.loads(pickle.dumps(loader))):
        with pytest.raises(ModuleNotFoundError) as raised:
            one.anything  # noqa: B018
        assert str(raised.value) == "No module named 'no_such_package': pip install 'that-project[all]'"
        assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)
        assert raised.value.name == "no_such_package"


def test_install_hint_is_silent_about_what_the_module_itself_lacks(module_folder):
    """Where the module is there and what it imports is missing, its own project is no advice."""
    (module_folder / "lacking.py").write_text("import no_such_module_here\n")
    importlib.invalidate_caches()
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'no_such_module_here'$"):
        LazyLoader("lacking", install_hint="lacking").anything  # noqa: B018


def test_ready_made_loaders_say_what_to_install(monkeypatch):
    """A module that is not installed is advised by the name of its project."""
    for module, project in {"git": "GitPython", "google.genai": "google-genai"}.items():
        monkeypatch.setitem(sys.modules, module.partition(".")[0], None)
        monkeypatch.delitem(sys.modules, module, raising=False) if "." in module else None
        loader = get_lazy_loader(module)
        fresh = pickle.loads(pickle.dumps(loader))
        with pytest.raises(ModuleNotFoundError, match=f"pip install {project}$"):
            fresh.anything  # noqa: B018


# as the module


def test_class_and_error_of_a_loader(used):
    """A class is one for `isinstance`, an error is caught by `except`, before anything else was used."""
    try:
        raise lazy_import("used").Error
    except used.Error:
        caught = True
    assert caught
    assert isinstance(used.Thing(), used.Thing)
    assert not isinstance(1, used.Thing)


def test_annotations_are_resolved(used):
    """`get_type_hints` finds a class by the loader's name, and hints of the loader itself."""

    def function(thing: used.Thing, text: str) -> None: ...

    hints = typing.get_type_hints(function, {"used": used}, {"used": used})
    assert hints["thing"] is used.Thing
    assert typing.get_type_hints(lazy_import("used")) == {}


def test_inspect_takes_it_for_the_module(used):
    """Source, file, docstring and members are the module's; it is a module to `inspect`."""
    assert inspect.ismodule(used)
    assert isinstance(used, ModuleType)
    assert not is_loaded(used)
    assert inspect.getsource(used) == SOURCE
    assert inspect.getdoc(used).startswith("About used.")
    assert dict(inspect.getmembers(used))["value"] == 1
    assert inspect.getmodule(used.double) is sys.modules["used"]
    assert inspect.getfile(used.Thing) == used.__file__


def test_vars_are_the_modules(used):
    """`vars` of a loader is the module's dict, even as its first use."""
    assert vars(used) is vars(sys.modules["used"])


def test_class_is_that_of_the_module(module_folder):
    """After the load, a module of a class of its own is one for `isinstance`, and `vars` is its dict."""
    text = "import sys, types\nclass Own(types.ModuleType): pass\nsys.modules[__name__].__class__ = Own\n"
    (module_folder / "own_class.py").write_text(text)
    importlib.invalidate_caches()
    loader = lazy_import("own_class")
    assert isinstance(loader, loader.Own)
    assert isinstance(loader, LazyLoader)
    assert vars(loader) is vars(sys.modules["own_class"])


def test_what_is_in_it_is_pickled_and_copied(used):
    """Functions and objects that a loader gave are pickled by the module's name."""
    assert pickle.loads(pickle.dumps(used.double)) is sys.modules["used"].double
    assert isinstance(copy.deepcopy(used.Thing()), used.Thing)


def test_doctest_of_a_module_that_holds_it(used):
    """Looking for examples in a module that holds a loader does not import; an example may use it."""
    holder = ModuleType("lazy_holder", ">>> used.double(2)\n4\n")
    sys.modules["lazy_holder"] = holder
    holder.used = used
    examples = doctest.DocTestFinder().find(holder)
    assert not is_loaded(used)
    assert [doctest.DocTestRunner().run(example) for example in examples] == [(0, 1)]
    assert is_loaded(used)


def test_docstring_is_the_modules(used):
    """The docstring of a loader is the module's, even as its first use; the class has its own."""
    assert used.__doc__.strip().startswith("About used.")
    assert used.__doc__ == sys.modules["used"].__doc__
    assert LazyLoader.__doc__.startswith("Stands for a module")


@pytest.mark.parametrize("loaded", [False, True])
def test_patch_by_name_is_undone(used, loaded):
    """`mock.patch` through the name of a loader patches the module and restores it."""
    holder = ModuleType("lazy_holder")
    sys.modules["lazy_holder"] = holder
    holder.loader = used
    if loaded:
        assert used.value == 1
    with mock.patch("lazy_holder.loader.value", 5), mock.patch.object(used, "double"):
        assert sys.modules["used"].value == 5
        assert used.double(1) is used.double.return_value
    assert (used.value, sys.modules["used"].value, used.double(1)) == (1, 1, 2)
    with mock.patch("lazy_holder.loader.new", 1, create=True):
        assert sys.modules["used"].new == 1
    assert not hasattr(used, "new")


def test_resources_are_found(module_folder):
    """`importlib.resources` reads the files of a package by its loader."""
    (module_folder / "resourceful").mkdir()
    (module_folder / "resourceful" / "__init__.py").touch()
    (module_folder / "resourceful" / "data.txt").write_text("data")
    importlib.invalidate_caches()
    assert importlib.resources.files(lazy_import("resourceful")).joinpath("data.txt").read_text() == "data"


# what a load cost


NESTED = "import time\nfrom lazy_holder import inner\nkept = inner.value\ntime.sleep(0.01)\n"


@pytest.fixture
def nested(module_folder) -> LazyLoader:
    """A loader of a module whose code uses another lazy module, which takes 50 ms."""
    (module_folder / "nesting.py").write_text(NESTED)
    (module_folder / "nested.py").write_text(
        "import time, fresh_memory\ntime.sleep(0.05)\nvalue = fresh_memory.fresh(20)\n"
    )
    importlib.invalidate_caches()
    sys.modules["lazy_holder"] = holder = ModuleType("lazy_holder")
    holder.inner = lazy_import("nested")
    return lazy_import("nesting")


def test_nested_loads_are_children_with_their_own_times(nested, telemetry):
    """The span of the inner load is inside that of the outer, whose figures are without the inner's."""
    assert nested.kept
    outer, inner = telemetry.span("lazy_load nesting"), telemetry.span("lazy_load nested")
    assert telemetry.parent(inner) == outer.name
    assert outer.start_time <= inner.start_time < inner.end_time <= outer.end_time
    took = [span.attributes[names.LAZY_LOAD_DURATION_ATTRIBUTE] for span in (outer, inner)]
    assert sum(took) == pytest.approx((outer.end_time - outer.start_time) / 1e9, abs=1e-6)
    assert took[1] >= 0.05
    assert [span.attributes[names.MODULE_COUNT] for span in (outer, inner)] == [1, 1]
    sums = [point.sum for point in telemetry.points(names.LAZY_LOAD_DURATION).values()]
    assert sorted(sums) == sorted(took)


def test_nested_loads_in_a_span_are_two_events(nested, telemetry):
    """On a span that is current both are events, and their times add up to no more than it took."""
    with telemetry.tracer.start_as_current_span("work"):
        assert nested.kept
    work = telemetry.span("work")
    attributes = [event.attributes for event in work.events]
    assert [one[names.MODULE_NAME] for one in attributes] == ["nested", "nesting"]
    took = sum(one[names.LAZY_LOAD_DURATION_ATTRIBUTE] for one in attributes)
    assert took <= (work.end_time - work.start_time) / 1e9
    if all(names.PROCESS_MEMORY_DELTA in one for one in attributes):
        assert attributes[1][names.PROCESS_MEMORY_DELTA] < 10 << 20


def test_failed_nested_load_is_left_behind(module_folder, telemetry):
    """A load inside one that fails is reported with it, and the next load is nobody's child."""
    (module_folder / "failing.py").write_text("import time\ntime.sleep(0.002)\nraise LookupError\n")
    (module_folder / "alone.py").write_text("import time\ntime.sleep(0.002)\nvalue = 1\n")
    importlib.invalidate_caches()
    with pytest.raises(LookupError):
        lazy_import("failing").value  # noqa: B018
    assert lazy_import("alone").value
    assert telemetry.parent(telemetry.span("lazy_load alone")) is None


@pytest.mark.parametrize(("others_ns", "known"), [(900_000, True), (1_100_000, False)])
def test_memory_is_absent_where_other_threads_worked(used, telemetry, monkeypatch, others_ns, known):
    """Above 1 ms of CPU time of other threads, nobody knows whose memory it was."""
    readings = iter([0, others_ns])
    monkeypatch.setattr(lazy_loads, "_others_cpu_ns", lambda: next(readings))
    with telemetry.tracer.start_as_current_span("work"):
        assert used.value
    (event,) = telemetry.span("work").events
    assert (names.PROCESS_MEMORY_DELTA in event.attributes) is known


def test_cpu_of_other_threads_is_seen():
    """The CPU time of a thread beside this one counts, this thread's own does not."""

    def burn() -> None:
        end = time.thread_time() + 0.02
        while time.thread_time() < end:
            pass

    before = lazy_loads._others_cpu_ns()
    thread = threading.Thread(target=burn)
    thread.start()
    thread.join()
    assert lazy_loads._others_cpu_ns() - before >= 15_000_000


def test_threads_race_for_a_cold_loader(module_folder, telemetry, scale):
    """However often 32 threads race, each load happens once and is recorded once."""
    (module_folder / "slow.py").write_text("import time\ntime.sleep(0.002)\nvalue = object()\n")
    importlib.invalidate_caches()
    rounds = scale(500)
    for _ in range(rounds):
        sys.modules.pop("slow", None)
        loader, barrier, found = lazy_import("slow"), threading.Barrier(32), []

        def use(loader=loader, barrier=barrier, found=found) -> None:
            barrier.wait()
            found.append(loader.value)

        threads = [threading.Thread(target=use) for _ in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(found) == 32
        assert len(set(found)) == 1
    assert sum(telemetry.values(names.LAZY_LOAD_DURATION).values()) == rounds


def test_ready_made_names_import_nothing():
    """Importing all ten ready-made loaders imports none of their modules."""
    program = (
        "import sys\nfrom codoperf_otel.lazy_loader import (anthropic, docker, git, google_genai,"
        " matplotlib, numpy, openai, pandas, plotly, seaborn)\nprint(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    stands_for = {"anthropic", "docker", "git", "google.genai", "matplotlib", "numpy", "openai", "pandas"}
    assert not (stands_for | {"plotly", "seaborn"}) & set(loaded.split())
