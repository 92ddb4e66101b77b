"""Modules that are imported at their first use; your traces and metrics tell what the import cost.

>>> from codoperf_otel import lazy_import
>>> json = lazy_import("json")
>>> json
LazyLoader(json, status=unloaded)
>>> json.loads("[1]")
[1]
>>> json
LazyLoader(json, status=loaded)
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from threading import Lock
from types import ModuleType
from typing import Any

from opentelemetry import trace

from codoperf_otel import _telemetry
from codoperf_otel._context import current_agent
from codoperf_otel._readings import memory
from codoperf_otel._statistics import OVERFLOW, Attributes, attribute_set, with_agent
from codoperf_otel._telemetry import names

__all__ = [
    "LazyLoader",
    "anthropic",
    "docker",
    "get_lazy_loader",
    "git",
    "google_genai",
    "lazy_function",
    "lazy_import",
    "matplotlib",
    "numpy",
    "openai",
    "pandas",
    "plotly",
    "seaborn",
]

log = logging.getLogger("codoperf_otel.lazy_loader")

SPAN_THRESHOLD = 0.001
"""A load outside any span gets a span of its own if it took longer than this, in seconds."""

# doctest, inspect and abc ask any object for these: no use of the module, and no module has them
_PROBES = frozenset({"__isabstractmethod__", "__wrapped__"})


class LazyLoader:
    """Stands for a module, and imports it when one of its attributes is first used.

    From then on the loader's attributes are the module's own, as fast to read as those of the module.
    What is set or deleted on the loader is set or deleted on the module. ``module_name`` and
    ``package`` alone are the loader's. ``importlib.reload`` wants the module itself:
    ``sys.modules[loader.__name__]``.

    The first use puts an event ``codoperf.lazy_load`` on the current span, with duration, process memory
    and number of modules, and records ``codoperf.lazy_load.duration``.

    Args:
        module_name: what an ``import`` statement would name; relative if it begins with a dot.
        package: what a relative name is relative to.

    Raises:
        ImportError: at each use of a module that there is none of. What a module's own code raises
            leaves unchanged.

    >>> LazyLoader("statistics").mean([1, 3])
    2
    >>> LazyLoader("no_such_module").attribute
    Traceback (most recent call last):
    ModuleNotFoundError: No module named 'no_such_module'
    """

    # the private ones are mangled: a module may have any other name
    __slots__ = ("__claim", "__dict__", "__module", "__weakref__", "module_name", "package")

    module_name: str
    package: str | None
    __claim: Lock
    __module: ModuleType | None

    def __init__(self, module_name: str, package: str | None = None) -> None:
        put = super().__setattr__
        put("module_name", module_name)
        put("package", package)
        put("_LazyLoader__claim", Lock())
        put("_LazyLoader__module", None)

    def __getattr__(self, name: str) -> Any:
        if name in _PROBES and self.__module is None:
            raise AttributeError(name)
        return getattr(self.__loaded(), name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self.__loaded(), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self.__loaded(), name)

    def __dir__(self) -> list[str]:
        return sorted({*dir(self.__loaded()), "module_name", "package"})

    def __repr__(self) -> str:
        status = "unloaded" if self.__module is None else "loaded"
        return f"{type(self).__name__}({self.module_name}, status={status})"

    def __reduce__(self) -> tuple[type[LazyLoader], tuple[str, str | None]]:
        return type(self), (self.module_name, self.package)

    def __loaded(self) -> ModuleType:
        if self.__module is not None:
            return self.__module
        if not self.__claim.acquire(blocking=False):
            # another thread loads it, or this one in a circle of imports: the import system knows which
            return _import(_absolute(self.module_name, self.package))
        try:
            return self.__load()
        finally:
            self.__claim.release()

    def __load(self) -> ModuleType:
        if self.__module is not None:  # another thread was faster
            return self.__module
        module = _measured_import(_absolute(self.module_name, self.package))
        put = super().__setattr__
        if type(module) is ModuleType:
            put("__dict__", module.__dict__)
        put("_LazyLoader__module", module)
        return module


def lazy_import(module_name: str, package: str | None = None) -> LazyLoader:
    """A new loader for a module.

    >>> lazy_import(".abc", "collections")
    LazyLoader(.abc, status=unloaded)
    """
    return LazyLoader(module_name, package)


_loaders: dict[tuple[str, str | None], LazyLoader] = {}


def get_lazy_loader(module_name: str, package: str | None = None) -> LazyLoader:
    """The one loader that everybody who asks for this module by this function gets.

    >>> get_lazy_loader("csv") is get_lazy_loader("csv")
    True
    """
    key = (module_name, package)
    return _loaders.get(key) or _loaders.setdefault(key, LazyLoader(module_name, package))


def lazy_function(module_name: str, function_name: str, package: str | None = None) -> Callable[..., Any]:
    """A function whose module is imported when it is first called; looked up there at each call.

    >>> dumps = lazy_function("json", "dumps")
    >>> dumps([1]), dumps.__name__, dumps.__qualname__
    ('[1]', 'dumps', 'json.dumps')

    Raises:
        ImportError, AttributeError: at the call, if there is no such module or no such function in it.
    """
    loader = get_lazy_loader(module_name, package)

    def function(*args: Any, **kwargs: Any) -> Any:
        return getattr(loader, function_name)(*args, **kwargs)

    function.__name__ = function_name
    function.__qualname__ = f"{module_name}.{function_name}"
    return function


def _absolute(module_name: str, package: str | None) -> str:
    if not module_name.startswith("."):
        return module_name
    from importlib.util import resolve_name

    return resolve_name(module_name, package)


def _import(module: str) -> ModuleType:
    # not `import_module`: where two threads import in a circle it raises what a statement settles
    __import__(module)
    return sys.modules[module]


def _measured_import(module: str) -> ModuleType:
    load = _Load(module)
    try:
        loaded = _import(module)
    except BaseException as error:
        load.report(error)
        raise
    load.report(None)
    return loaded


class _Load:
    """The import of a module, measured from here to `report`."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._resident = memory.rss()
        self._modules = len(sys.modules)
        self._started_at = time.time_ns()
        self._started = time.perf_counter_ns()

    def report(self, error: BaseException | None) -> None:
        """Tell the current span and the metrics of it. Never raises."""
        duration_ns = time.perf_counter_ns() - self._started
        try:
            self._report(duration_ns, error)
        except Exception:
            fields = {"operation": f"lazy_load {self._module}", "duration": duration_ns / 1e9}
            log.warning("the lazy load of %s is not recorded", self._module, exc_info=True, extra=fields)

    def _report(self, duration_ns: int, error: BaseException | None) -> None:
        seconds = duration_ns / 1e9
        error_type = None if error is None else _telemetry.error_type(error)
        _telemetry.active().histograms[names.LAZY_LOAD_DURATION].record(
            seconds, _attributes_of(self._module, current_agent(), error_type)
        )
        attributes = self._attributes(seconds, error_type)
        span = trace.get_current_span()
        if span.is_recording():
            _telemetry.add_event(span, names.LAZY_LOAD_EVENT, attributes)
        elif seconds > SPAN_THRESHOLD:
            self._span(duration_ns, attributes, error)

    def _attributes(self, seconds: float, error_type: str | None) -> Attributes:
        attributes: Attributes = {
            names.MODULE_NAME: self._module,
            names.LAZY_LOAD_DURATION_ATTRIBUTE: seconds,
            names.MODULE_COUNT: max(len(sys.modules) - self._modules, 0),
        }
        resident = memory.rss()
        if resident is not None and self._resident is not None:
            attributes[names.PROCESS_MEMORY_DELTA] = resident - self._resident
        if error_type is not None:
            attributes[names.ERROR_TYPE] = error_type
        return attributes

    def _span(self, duration_ns: int, attributes: Attributes, error: BaseException | None) -> None:
        span = _telemetry.active().tracer.start_span(
            f"{names.LAZY_LOAD} {self._module}", attributes=attributes, start_time=self._started_at
        )
        if error is not None:
            _telemetry.record_error(span, error)
        span.end(self._started_at + duration_ns)


_attribute_sets: dict[tuple[str, str | None, str | None], Attributes] = {}


def _attributes_of(module: str, agent: str | None, error_type: str | None) -> Attributes:
    """The metric attributes of a load, each set made once."""
    key = (module, agent, error_type)
    found = _attribute_sets.get(key)
    if found is None:
        failure = {} if error_type is None else {names.ERROR_TYPE: error_type}
        found = attribute_set(with_agent({names.MODULE_NAME: module, **failure}, agent))
        if found is not OVERFLOW:
            _attribute_sets[key] = found
    return found


matplotlib = get_lazy_loader("matplotlib.pyplot")
numpy = get_lazy_loader("numpy")
pandas = get_lazy_loader("pandas")
seaborn = get_lazy_loader("seaborn")
plotly = get_lazy_loader("plotly.graph_objects")
openai = get_lazy_loader("openai")
anthropic = get_lazy_loader("anthropic")
google_genai = get_lazy_loader("google.genai")
docker = get_lazy_loader("docker")
git = get_lazy_loader("git")
