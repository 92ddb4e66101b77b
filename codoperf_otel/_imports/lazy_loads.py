"""The import of a module at its first use, measured and reported.

Loads nest, when the code of one module uses another lazy module. The figures of each are without those of the
loads inside it, so that they add up.
"""

from __future__ import annotations

import logging
import shlex
import sys
import threading
import time
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from opentelemetry import trace

from codoperf_otel import _telemetry
from codoperf_otel._calls.context import agent_in_force
from codoperf_otel._calls.lineages import LAZY_LOAD_NS
from codoperf_otel._calls.recorder import shared
from codoperf_otel._calls.thread_clock import thread
from codoperf_otel._readings import memory
from codoperf_otel._telemetry import names
from codoperf_otel._telemetry.attribute_sets import Attributes, AttributeSets, with_agent
from codoperf_otel._telemetry.interrupts import raise_interrupt

log = logging.getLogger("codoperf_otel.lazy_loader")

_SPAN_THRESHOLD = 0.001
"""A load outside any span gets a span of its own if it took longer than this, in seconds."""

_OTHERS_CPU_NS = 1_000_000
"""Where other threads used more CPU time than this meanwhile, the memory may be what they took."""


_dict_of = vars(ModuleType)["__dict__"].__get__


def import_module(module: str) -> ModuleType:
    """Import a module as a statement does."""
    # not `importlib.import_module`: where two threads import in a circle it raises what a statement settles
    __import__(module)
    return sys.modules[module]


def is_half_made(module: object) -> bool:
    """Whether a module's code still runs, as in a circle of imports: it may yet fail."""
    # what else stands in a module's place may answer anything
    spec = _dict_of(module).get("__spec__") if issubclass(type(module), ModuleType) else None
    return getattr(spec, "_initializing", False) is True


def measured_import(module: str, install_hint: str | None = None) -> ModuleType:
    """Import a module, and report what that cost. One that was imported before costs nothing."""
    try:
        return import_module(module) if sys.modules.get(module) is not None else _measured(module)
    except ModuleNotFoundError as error:
        if install_hint is not None:
            _advise(error, module, install_hint)
        raise


def _measured(module: str) -> ModuleType:
    load = _Load(module)
    try:
        # not so if another thread loads it or has just done so, or this one in a circle
        is_first = _loading.setdefault(module, load) is load and sys.modules.get(module) is None
        return load.run() if is_first else import_module(module)
    finally:  # without a call, so that no signal handler comes in between
        _here.load = load.outer
        if module in _loading and _loading[module] is load:
            del _loading[module]


def _advise(error: ModuleNotFoundError, module: str, install_hint: str) -> None:
    """Say what to install, unless what is missing is something that the module itself imports."""
    if f"{module}.".startswith(f"{error.name}."):
        error.msg = f"{error.msg}: pip install {shlex.quote(install_hint)}"
        error.args = (error.msg,)


@dataclass(slots=True)
class _Figures:
    """What a load took: nanoseconds, modules, and bytes of memory where they are known."""

    duration_ns: int
    modules: int
    memory: int | None

    def without(self, inner: _Figures) -> _Figures:
        known = self.memory is not None and inner.memory is not None
        return _Figures(
            self.duration_ns - inner.duration_ns,
            self.modules - inner.modules,
            self.memory - inner.memory if known else None,  # type: ignore[operator]
        )


class _Thread(threading.local):
    load: _Load | None = None
    """The load that this thread is in."""


_here = _Thread()
_loading: dict[str, _Load] = {}
"""The loads that run, by module."""


class _Load:
    """The import of a module, measured from here on."""

    def __init__(self, module: str) -> None:
        self.outer = _here.load
        self._module = module
        self._inner: list[_Figures] = []
        self._waiting: list[_Span] = []
        self._resident = memory.rss()
        self._modules = len(sys.modules)
        self._others_cpu_ns = _others_cpu_ns()
        self._started_unix_ns = time.time_ns()
        self._started_ns = time.perf_counter_ns()

    def run(self) -> ModuleType:
        """Import the module, and report it to the current span and the metrics."""
        _here.load = self
        try:
            loaded = import_module(self._module)
        except BaseException as error:
            self._end(error)
            raise
        self._end(None)
        return loaded

    def _end(self, error: BaseException | None) -> None:
        """Report it. Never raises."""
        duration_ns = time.perf_counter_ns() - self._started_ns
        _here.load = self.outer
        try:
            self._report(duration_ns, error)
        except Exception as failure:
            raise_interrupt(failure)
            fields = {"operation": f"{names.LAZY_LOAD} {self._module}", "duration": duration_ns / 1e9}
            log.warning("the lazy load of %s is not recorded", self._module, exc_info=True, extra=fields)

    def _report(self, duration_ns: int, error: BaseException | None) -> None:
        whole = self._figures(duration_ns)
        if self.outer is not None:
            self.outer._inner.append(whole)
        own = whole
        for inner in self._inner:
            own = own.without(inner)
        error_type = None if error is None else _telemetry.error_type(error)
        histogram = _telemetry.active().instruments.histograms[names.LAZY_LOAD_DURATION]
        agent = agent_in_force()
        if agent is not None:
            agent.add(LAZY_LOAD_NS, own.duration_ns)
        of = _attributes_of(self._module, None if agent is None else agent.name, error_type)
        shared.record(thread.clock, histogram, own.duration_ns / 1e9, of)
        attributes = _span_attributes(self._module, own, error_type)
        span = trace.get_current_span()
        if span.is_recording():
            _telemetry.add_event(span, names.LAZY_LOAD_EVENT, attributes)
        elif duration_ns > _SPAN_THRESHOLD * 1e9:
            self._span(duration_ns, attributes, error)

    def _figures(self, duration_ns: int) -> _Figures:
        modules = max(len(sys.modules) - self._modules, 0)
        return _Figures(duration_ns, modules, self._memory())

    def _memory(self) -> int | None:
        """What the process has grown by; unknown where other threads worked meanwhile."""
        resident = memory.rss()
        if resident is None or self._resident is None:
            return None
        alone = _others_cpu_ns() - self._others_cpu_ns <= _OTHERS_CPU_NS
        return resident - self._resident if alone else None

    def _span(self, duration_ns: int, attributes: Attributes, error: BaseException | None) -> None:
        """A span of its own; below that of the load around it, it waits until that one has ended."""
        end = self._started_unix_ns + duration_ns
        span = _Span(self._module, attributes, error, self._started_unix_ns, end, self._waiting)
        if self.outer is None:
            span.send(None)
        else:
            self.outer._waiting.append(span)


@dataclass(slots=True)
class _Span:
    """The span of a load that has ended, and those of the loads inside it."""

    module: str
    attributes: Attributes
    error: BaseException | None
    start_unix_ns: int
    end_unix_ns: int
    inner: list[_Span]

    def send(self, context: Any) -> None:
        span = _telemetry.active().tracer.start_span(
            f"{names.LAZY_LOAD} {self.module}",
            context,
            attributes=self.attributes,
            start_time=self.start_unix_ns,
        )
        if self.error is not None:
            _telemetry.record_error(span, self.error)
        for inner in self.inner:
            inner.send(trace.set_span_in_context(span))
        span.end(self.end_unix_ns)


def _others_cpu_ns() -> int:
    """The CPU time that threads other than this one have used."""
    return time.process_time_ns() - time.thread_time_ns()


def _span_attributes(module: str, own: _Figures, error_type: str | None) -> Attributes:
    attributes: Attributes = {
        names.MODULE_NAME: module,
        names.LAZY_LOAD_DURATION_ATTRIBUTE: own.duration_ns / 1e9,
        names.MODULE_COUNT: own.modules,
    }
    if own.memory is not None:
        attributes[names.PROCESS_MEMORY_DELTA] = own.memory
    if error_type is not None:
        attributes[names.ERROR_TYPE] = error_type
    return attributes


_attribute_sets = AttributeSets()


def _attributes_of(module: str, agent: str | None, error_type: str | None) -> Attributes:
    """The metric attributes of a load, each set made once."""
    failure = {} if error_type is None else {names.ERROR_TYPE: error_type}
    attributes = with_agent({names.MODULE_NAME: module, **failure}, agent)
    return _attribute_sets.get((module, agent, error_type), attributes)
