"""A lazy module is the module itself from its first use on, and that use is told once."""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
import subprocess
import sys
import threading
import time
from abc import ABC
from types import ModuleType

import fresh_memory  # noqa: F401  # loaded before the lazy module that uses it
import pytest

from codoperf_otel import lazy_loader
from codoperf_otel._imports import lazy_loads
from codoperf_otel._telemetry import attribute_sets, names
from codoperf_otel.lazy_loader import LazyLoader, get_lazy_loader, is_loaded, lazy_function, lazy_import


@pytest.fixture
def module(module_folder):
    """Makes importable modules out of source."""

    def make(name: str, source: str = "value = 1\n") -> str:
        path = module_folder.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        importlib.invalidate_caches()
        return name

    return make


def events(span) -> list:
    """The lazy-load events of a finished span."""
    return [event for event in span.events if event.name == names.LAZY_LOAD_EVENT]


# the loader


def test_first_use_imports():
    """Nothing is imported before an attribute is asked for; the repr says which it is."""
    loader = lazy_import("json")
    assert repr(loader) == "LazyLoader(json, status=unloaded)"
    assert (loader.module_name, loader.package) == ("json", None)
    assert loader.loads("[1]") == [1]
    assert repr(loader) == "LazyLoader(json, status=loaded)"


def test_import_happens_at_the_first_attribute(module):
    """The module's code runs at the first use and once."""
    loader = LazyLoader(module("lazy_first", "value = object()\n"))
    assert "lazy_first" not in sys.modules
    value = loader.value
    assert sys.modules["lazy_first"].value is value
    assert loader.value is value


def test_loaded_attributes_are_the_modules_own(module):
    """After the load the loader's dict is the module's, which is what makes it as fast."""
    loader = LazyLoader(module("lazy_dict"))
    assert loader.value == 1
    assert vars(loader) is vars(sys.modules["lazy_dict"])


def test_rebinding_is_seen_both_ways(module):
    """What is set on the module shows on the loader, and the reverse; deleting, too."""
    loader = LazyLoader(module("lazy_rebound"))
    loader.value = 2
    real = sys.modules["lazy_rebound"]
    assert real.value == 2
    real.value = 3
    assert loader.value == 3
    del loader.value
    assert not hasattr(real, "value")
    assert not hasattr(loader, "value")


SUBCLASSED = """
import sys
from types import ModuleType

class Special(ModuleType):
    @property
    def value(self):
        return self.number + 1

    @property
    def hidden(self):
        return "of the class"

    def __setattr__(self, name, value):
        super().__setattr__(name, value * 2)

hidden = "of the dict"
sys.modules[__name__].__class__ = Special
number = 1
"""


def test_properties_of_a_module_subclass_work(module):
    """A module of a class of its own keeps its properties, read and set through the loader."""
    loader = LazyLoader(module("lazy_special", SUBCLASSED))
    assert loader.value == 2
    assert loader.hidden == "of the class"
    loader.number = 5
    assert loader.value == 11
    with pytest.raises(AttributeError):
        loader.value = 0


@pytest.mark.parametrize("other", ["raise RuntimeError(name)", "return C()"])
def test_module_that_replaces_itself_is_found(module, other):
    """An object that a module puts in its own place is what the loader stands for, whatever it answers."""
    source = f"import sys\nclass C:\n    value = 7\n    def __getattr__(self, name):\n        {other}\n"
    loader = LazyLoader(module("lazy_replaced", f"{source}sys.modules[__name__] = C()\n"))
    assert loader.value == 7
    assert repr(loader).endswith("status=loaded)")


def test_module_getattr_is_asked(module):
    """Names that a module makes up in its own `__getattr__` are there, before and after the load."""
    loader = LazyLoader(module("lazy_getattr", "def __getattr__(name):\n    return name.upper()\n"))
    assert (loader.one, loader.two) == ("ONE", "TWO")


def test_missing_attribute_is_the_modules_own_error(module):
    """An attribute that the module lacks is an AttributeError that names both."""
    loader = LazyLoader(module("lazy_lacking"))
    for _ in range(2):
        with pytest.raises(AttributeError, match="module 'lazy_lacking' has no attribute 'nothing'"):
            loader.nothing  # noqa: B018


def test_missing_module_is_named_each_time(telemetry):
    """A module that does not exist raises an ImportError with its name, at every use."""
    loader = LazyLoader("no_such_module_here")
    for _ in range(2):
        with pytest.raises(ImportError, match="no_such_module_here"):
            loader.anything  # noqa: B018
    assert repr(loader).endswith("status=unloaded)")


def test_module_that_appears_later_is_loaded(module):
    """A failed use does not spoil the next one."""
    loader = LazyLoader("lazy_later")
    with pytest.raises(ImportError):
        loader.value  # noqa: B018
    module("lazy_later")
    assert loader.value == 1


def test_error_inside_the_module_leaves_unchanged(module):
    """What the module's own code raises is what the user gets."""
    loader = LazyLoader(module("lazy_broken", "raise LookupError('inside')\n"))
    with pytest.raises(LookupError, match="inside"):
        loader.value  # noqa: B018


def test_relative_name_without_package_is_an_import_error():
    """A name with a leading dot needs the package it is relative to."""
    with pytest.raises(ImportError, match=r"\.inner"):
        LazyLoader(".inner").value  # noqa: B018


def test_relative_name(module):
    """A name with a leading dot is looked for in the package."""
    module("lazy_package.__init__", "")
    module("lazy_package.inner", "value = 'inner'\n")
    loader = LazyLoader(".inner", "lazy_package")
    assert loader.value == "inner"
    assert loader.package == "lazy_package"
    assert repr(loader) == "LazyLoader(.inner, status=loaded)"


def test_only_the_seeds_names_hide_the_modules():
    """No public name but the contract's two is on the loader."""
    assert [name for name in dir(LazyLoader) if not name.startswith("_")] == ["module_name", "package"]


def test_dir_lists_the_module(module):
    """Completion shows what the module holds."""
    assert {"value", "__name__", "module_name"} <= set(dir(LazyLoader(module("lazy_listed"))))


def test_tools_that_probe_do_not_import():
    """doctest, inspect and abc may look at a loader without importing what it stands for."""
    loader = LazyLoader("no_such_module_here")
    assert inspect.unwrap(loader) is loader
    type("Holder", (ABC,), {"module": loader})


def test_copies_and_pickles_stand_for_the_same_module(module):
    """A loader travels by the module's name, loaded or not."""
    loader = LazyLoader(module("lazy_copied"))
    for _ in range(2):
        for other in (copy.copy(loader), copy.deepcopy(loader), pickle.loads(pickle.dumps(loader))):
            assert (other.module_name, other.package) == ("lazy_copied", None)
            assert other.value == 1
        assert loader.value == 1


# the functions


def test_get_lazy_loader_gives_one_a_name_under_threads():
    """Sixteen threads that ask at once get the same object; another package is another loader."""
    found = in_threads(16, lambda: get_lazy_loader("colorsys"))
    assert len({id(loader) for loader in found}) == 1
    assert get_lazy_loader("colorsys", "package") is not found[0]


def test_lazy_function_is_imported_at_the_call(module):
    """The function has the contract's names and runs with what it is given."""
    name = module("lazy_functions", "def add(a, *, b):\n    return a + b\n")
    add = lazy_function(name, "add")
    assert (add.__name__, add.__qualname__) == ("add", "lazy_functions.add")
    assert name not in sys.modules
    assert add(1, b=2) == 3
    sys.modules[name].add = lambda a, b: "patched"
    assert add(1, b=2) == "patched"


@pytest.mark.parametrize(
    ("name", "stands_for"),
    [
        ("matplotlib", "matplotlib.pyplot"),
        ("numpy", "numpy"),
        ("pandas", "pandas"),
        ("seaborn", "seaborn"),
        ("plotly", "plotly.graph_objects"),
        ("openai", "openai"),
        ("anthropic", "anthropic"),
        ("google_genai", "google.genai"),
        ("docker", "docker"),
        ("git", "git"),
    ],
)
def test_ready_made_loaders(name, stands_for):
    """The loaders that programs expect by name."""
    assert getattr(lazy_loader, name) is get_lazy_loader(stands_for)
    assert name in lazy_loader.__all__


# threads and circles


def in_threads(count: int, work) -> list:
    """The results of `work` on threads that begin together."""
    barrier, results = threading.Barrier(count), []

    def run():
        barrier.wait()
        results.append(work())

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == count
    return results


def test_eight_threads_load_once_and_tell_once(module, telemetry):
    """Threads that race for the first use all get the module; there is one record of one load."""
    source = "import time\ntime.sleep(0.05)\nvalue = object()\n"
    loader = LazyLoader(module("lazy_raced", source))
    assert len(set(in_threads(8, lambda: loader.value))) == 1
    assert list(telemetry.values(names.LAZY_LOAD_DURATION).values()) == [1]
    assert len(telemetry.spans("lazy_load lazy_raced")) == 1


def test_thread_that_comes_just_after_the_load_does_not_tell_again(module, telemetry, monkeypatch):
    """Who asks before the load and gets its turn after it takes what is there."""
    loader = LazyLoader(module("lazy_beaten"))

    begin = lazy_loads._Load

    def beaten(name):
        monkeypatch.setattr(lazy_loads, "_Load", begin)
        in_threads(1, lambda: LazyLoader(name).value)
        return begin(name)

    monkeypatch.setattr(lazy_loads, "_Load", beaten)
    assert loader.value == 1
    assert list(telemetry.values(names.LAZY_LOAD_DURATION).values()) == [1]


def test_loader_used_while_its_module_loads(module):
    """A circle of imports sees the half-made module, as with plain imports, and does not hang."""
    source = "from lazy_holder import loader\nearly = 1\nseen = loader.early\nlate = 2\n"
    module("lazy_circle", source)
    holder = ModuleType("lazy_holder")
    sys.modules["lazy_holder"] = holder
    holder.loader = LazyLoader("lazy_circle")
    assert holder.loader.seen == 1
    assert holder.loader.late == 2


def test_two_loaders_of_one_module_tell_once(module, telemetry):
    """Threads that race through loaders of their own load once, and there is one record of it."""
    name = module("lazy_raced_twice", "import time\ntime.sleep(0.05)\nvalue = object()\n")
    loaders = [LazyLoader(name) for _ in range(8)]
    assert len(set(in_threads(8, lambda: loaders.pop().value))) == 1
    assert list(telemetry.values(names.LAZY_LOAD_DURATION).values()) == [1]


def test_half_made_module_that_fails_is_not_kept(module):
    """A loader that was used in the middle of an import that then fails tries again at the next use."""
    holder = ModuleType("lazy_holder")
    sys.modules["lazy_holder"] = holder
    source = "from lazy_holder import loader\nearly = 1\nloader.early\nraise LookupError('first')\n"
    holder.loader = LazyLoader(module("lazy_half", source))
    for _ in range(2):
        with pytest.raises(LookupError, match="first"):
            holder.loader.early  # noqa: B018
    assert not is_loaded(holder.loader)


INTERRUPTED = """
import random, signal, sys
from codoperf_otel import is_loaded, lazy_import
from codoperf_otel._imports import lazy_loads

class Expired(Exception):
    pass

def expired(*_):
    if armed:
        raise Expired

signal.signal(signal.SIGALRM, expired)
sys.unraisablehook = lambda _: None  # what is raised in a callback of a weak reference is lost
sys.path.insert(0, sys.argv[1])
raised = 0
for _ in range(int(sys.argv[2])):
    sys.modules.pop("interrupted", None)
    loader = lazy_import("interrupted")
    armed = True
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 6e-4))
        loader.value
        armed = False
    except Expired:
        raised += 1
    armed = False
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert lazy_loads._here.load is None
    assert not lazy_loads._loading
    assert loader.value == 1
    assert is_loaded(loader)
assert raised
"""


def test_load_that_a_signal_handler_ends_leaves_nothing_behind(module, tmp_path, scale):
    """However an exception of a handler hits a load, the next use works and the next load is no child."""
    module("interrupted")
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path), str(scale(6000))]
    subprocess.run(command, check=True)


def test_circle_across_threads(module):
    """Two modules that use each other's loaders, imported by two threads at once, both load."""
    use = "import time\nfrom lazy_pair import {other}\nvalue = 1\ntime.sleep(0.05)\nother = {other}.value\n"
    module("lazy_left", use.format(other="right"))
    module("lazy_right", use.format(other="left"))
    pair = ModuleType("lazy_pair")
    sys.modules["lazy_pair"] = pair
    pair.left, pair.right = LazyLoader("lazy_left"), LazyLoader("lazy_right")
    loaders = [pair.left, pair.right]
    assert in_threads(2, lambda: loaders.pop().other) == [1, 1]


# telemetry


def test_event_is_on_the_span_of_the_first_use(module, telemetry):
    """The span in which the module is first used has one event with all its figures; the next has none."""
    module("lazy_brought_along")
    code = "import lazy_brought_along, fresh_memory\nkept = fresh_memory.fresh(30)\n"
    loader = LazyLoader(module("lazy_event", code))
    with telemetry.tracer.start_as_current_span("first"):
        assert loader.kept
    with telemetry.tracer.start_as_current_span("second"):
        assert loader.kept
    (event,) = events(telemetry.span("first"))
    assert event.attributes[names.MODULE_NAME] == "lazy_event"
    assert event.attributes[names.MODULE_COUNT] == 2
    assert 0 < event.attributes[names.LAZY_LOAD_DURATION_ATTRIBUTE] < 5
    assert event.attributes[names.PROCESS_MEMORY_DELTA] > 25 << 20
    assert names.ERROR_TYPE not in event.attributes
    assert events(telemetry.span("second")) == []
    assert {span.name for span in telemetry.spans()} == {"first", "second"}


def test_duration_is_recorded(module, telemetry):
    """The histogram has one value for the module."""
    assert LazyLoader(module("lazy_duration", "import time\ntime.sleep(0.02)\nvalue = 1\n")).value
    ((attributes, point),) = telemetry.points(names.LAZY_LOAD_DURATION).items()
    assert attributes == {(names.MODULE_NAME, "lazy_duration")}
    assert point.count == 1
    assert 0.02 <= point.sum < 5


def test_agent_in_force_is_named(module, telemetry):
    """The agent whose work needed the module is on the metric."""
    from codoperf_otel import agent

    loader = LazyLoader(module("lazy_of_agent"))
    with agent("reader"):
        assert loader.value
    (attributes,) = telemetry.points(names.LAZY_LOAD_DURATION)
    assert attributes == {(names.MODULE_NAME, "lazy_of_agent"), (names.GEN_AI_AGENT_NAME, "reader")}


def test_relative_module_is_told_by_its_whole_name(module, telemetry):
    """Telemetry names the module absolutely."""
    module("lazy_whole.__init__", "")
    module("lazy_whole.inner")
    assert LazyLoader(".inner", "lazy_whole").value
    (attributes,) = telemetry.points(names.LAZY_LOAD_DURATION)
    assert attributes == {(names.MODULE_NAME, "lazy_whole.inner")}


def test_failed_load_has_its_error(module, telemetry):
    """Event and metric carry the class of what was raised, each time."""
    loader = LazyLoader(module("lazy_failing", "raise LookupError\n"))
    with telemetry.tracer.start_as_current_span("work"):
        for _ in range(2):
            with pytest.raises(LookupError):
                loader.value  # noqa: B018
    assert [event.attributes[names.ERROR_TYPE] for event in events(telemetry.span("work"))] == [
        "LookupError"
    ] * 2
    assert telemetry.values(names.LAZY_LOAD_DURATION) == {
        frozenset({(names.MODULE_NAME, "lazy_failing"), (names.ERROR_TYPE, "LookupError")}): 2
    }


def test_module_that_was_imported_already(telemetry):
    """The first use of a module that others have imported cost nothing: no event, no row of the metric."""
    with telemetry.tracer.start_as_current_span("work"):
        assert LazyLoader("inspect").unwrap
    assert events(telemetry.span("work")) == []
    assert telemetry.points(names.LAZY_LOAD_DURATION) == {}


def test_slow_load_outside_any_span_has_one_of_its_own(module, telemetry):
    """Without a span around it, a load over 1 ms is a span with its true times and the event's attributes."""
    loader = LazyLoader(module("lazy_alone", "import time\ntime.sleep(0.02)\nvalue = 1\n"))
    before = time.time_ns()
    assert loader.value
    after = time.time_ns()
    span = telemetry.span("lazy_load lazy_alone")
    assert before <= span.start_time < span.end_time <= after
    duration = span.attributes[names.LAZY_LOAD_DURATION_ATTRIBUTE]
    assert span.end_time - span.start_time == pytest.approx(duration * 1e9, abs=10)
    assert span.attributes[names.MODULE_NAME] == "lazy_alone"
    assert span.attributes[names.MODULE_COUNT] == 1
    assert duration >= 0.02
    assert names.PROCESS_MEMORY_DELTA in span.attributes
    assert span.status.is_unset


def test_slow_failure_outside_any_span_is_a_failed_span(module, telemetry):
    """A load that fails has its error on its own span."""
    loader = LazyLoader(
        module("lazy_alone_failing", "import time\ntime.sleep(0.01)\nraise LookupError('no')\n")
    )
    with pytest.raises(LookupError):
        loader.value  # noqa: B018
    span = telemetry.span("lazy_load lazy_alone_failing")
    assert span.attributes[names.ERROR_TYPE] == "LookupError"
    assert not span.status.is_ok
    assert span.status.description == "no"


def test_quick_load_outside_any_span_has_none(module, telemetry, monkeypatch):
    """A load that is no longer than the threshold is on the histogram only."""
    monkeypatch.setattr(lazy_loads, "_SPAN_THRESHOLD", 60)
    assert LazyLoader(module("lazy_quick")).value
    assert telemetry.spans() == []
    assert list(telemetry.values(names.LAZY_LOAD_DURATION).values()) == [1]


def test_broken_telemetry_does_not_break_the_load(module, telemetry, monkeypatch, caplog):
    """Where recording fails the module is there all the same, and the log says so."""

    def fail(*_):
        raise RuntimeError("broken")

    monkeypatch.setattr(lazy_loads._Load, "_report", fail)
    assert LazyLoader(module("lazy_unrecorded")).value == 1
    assert "lazy_unrecorded is not recorded" in caplog.text


def test_attribute_sets_are_bounded(module, telemetry, monkeypatch):
    """When no place for attribute sets is left, the load is counted in the overflow set."""
    monkeypatch.setattr(attribute_sets, "_free", 1)
    for name in ("lazy_placed", "lazy_overflowing"):
        assert LazyLoader(module(name)).value
    assert telemetry.values(names.LAZY_LOAD_DURATION) == {
        frozenset({(names.MODULE_NAME, "lazy_placed")}): 1,
        frozenset({(names.METRIC_OVERFLOW, True)}): 1,
    }
