"""Monitoring of functions and operations: decorators, context managers and the statistics they feed."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import Any, ParamSpec, TypeVar, overload

from opentelemetry.trace import INVALID_SPAN, Span
from opentelemetry.util.types import AttributeValue

from codoperf_otel import _switches
from codoperf_otel._calls import monitored
from codoperf_otel._capture import Capture, Redact
from codoperf_otel._context import current_record
from codoperf_otel._monitor import PerformanceMetrics, PerformanceMonitor
from codoperf_otel._monitor import global_monitor as _performance_monitor
from codoperf_otel._scopes import Scope
from codoperf_otel._sites import Report, Site, SpanRate
from codoperf_otel._statistics import FUNCTION, OPERATION
from codoperf_otel._telemetry import names
from codoperf_otel.system_monitor import SystemMetrics, SystemMonitor, get_system_metrics

__all__ = [
    "HAS_PSUTIL",
    "Operation",
    "PerformanceMetrics",
    "PerformanceMonitor",
    "SystemMetrics",
    "SystemMonitor",
    "clear_performance_metrics",
    "current_operation",
    "get_performance_stats",
    "get_system_metrics",
    "monitor_performance",
    "performance_context",
    "profile_function",
    "profile_memory_usage",
    "track_resource_usage",
]

P = ParamSpec("P")
R = TypeVar("R")

HAS_PSUTIL = find_spec("psutil") is not None
"""Whether psutil can be found; it is not imported to find out."""


@overload
def monitor_performance(function_name: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def monitor_performance(
    function_name: str | None = None,
    monitor: PerformanceMonitor | None = None,
    *,
    memory: bool = False,
    capture: Iterable[str] = (),
    redact: Redact | None = None,
    max_spans_per_second: float | None = None,
    min_span_duration: float | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def monitor_performance(
    function_name: str | Callable[..., Any] | None = None,
    monitor: PerformanceMonitor | None = None,
    **options: Any,
) -> Any:
    """Monitor every call of a function: a span, its duration, its CPU time, its statistics.

    Functions, coroutine functions, generator and async generator functions stay what they are; a class
    has its public methods monitored. The statistics are kept under `function_name`, else under the
    function's own name, by `monitor`, else by the global monitor; the span is named `function_name`,
    else ``module.qualname``. With ``CODOPERF_OTEL_ENABLED=false`` the function itself is given back.

    >>> @monitor_performance("area", capture=("width",))
    ... def area(width, height):
    ...     return width * height
    >>> area(2, 3)
    6
    >>> get_performance_stats("area")["total_calls"]
    1

    Args:
        function_name: the name to record under; used bare, the function itself.
        monitor: who keeps the statistics.
        memory: the span also says what the process's memory was at start, end and highest.
        capture: parameters whose values go on the span, as ``codoperf.argument.{name}``, cut at 256
            characters; ``"return"`` is the result, ``codoperf.result``. None by default.
        redact: called with the name and the value of what is captured; what it gives is shown instead.
        max_spans_per_second: above this rate a call has no span; metrics and statistics stay exact.
        min_span_duration: seconds below which a call that succeeds has no span. The span is made
            afterwards, with its true start and end, so what the call itself calls has the nearest span
            outside for a parent: for functions that call nothing monitored. Such a call has no
            captured arguments.

    Raises:
        TypeError: what is decorated is not callable.
        ValueError: an option, or the variable that stands for it, is wrong; the message names it, its
            value and what is allowed.
    """
    if callable(function_name):
        return _monitor(function_name, None, None)
    if function_name is not None and not isinstance(function_name, str):
        raise TypeError(f"monitor_performance takes a name or a function, not {function_name!r}")
    return lambda func: _monitor(func, function_name, monitor, **options)


profile_function = monitor_performance


def _monitor(
    func: Callable[P, R], name: str | None, monitor: PerformanceMonitor | None, **options: Any
) -> Callable[P, R]:
    def make_site(inner: Callable[..., Any]) -> Site:
        given = f"{name}.{inner.__name__}" if name and isinstance(func, type) else name
        return _function_site(inner, given, monitor, **options)

    return _decorated(func, make_site)


def _decorated(func: Callable[P, R], make_site: Callable[[Callable[..., Any]], Site]) -> Callable[P, R]:
    if not callable(func) and not isinstance(func, classmethod | staticmethod):
        raise TypeError(f"only a callable can be monitored, not {func!r}")
    if not _switches.flag(_switches.ENABLED, default=True):
        return func
    return monitored(func, make_site)


def _function_site(
    func: Callable[..., Any],
    name: str | None,
    monitor: PerformanceMonitor | None,
    *,
    memory: bool = False,
    capture: Iterable[str] = (),
    redact: Redact | None = None,
    max_spans_per_second: float | None = None,
    min_span_duration: float | None = None,
) -> Site:
    own_name, qualified = _names_of(func)
    rate = _switches.chosen("max_spans_per_second", max_spans_per_second, _switches.MAX_SPANS_PER_SECOND)
    shortest = _switches.chosen("min_span_duration", min_span_duration, _switches.MIN_SPAN_DURATION)
    return Site(
        name or own_name,
        name or qualified,
        family=FUNCTION,
        cell_name=qualified,
        histogram=names.FUNCTION_DURATION,
        sink=(monitor or _performance_monitor).take,
        attributes={names.CODE_FUNCTION_NAME: qualified, **_place_in_code(func)},
        memory=memory,
        capture=Capture(func, tuple(capture), redact) if capture else None,
        span_rate=SpanRate(rate) if rate is not None else None,
        min_span_ns=int(shortest * 1e9) if shortest is not None else 0,
    )


def _names_of(func: Callable[..., Any]) -> tuple[str, str]:
    """The name of a callable, and its module and qualified name."""
    while isinstance(func, functools.partial):
        func = func.func
    named = func if hasattr(func, "__qualname__") else type(func)
    return named.__name__, f"{named.__module__}.{named.__qualname__}"


def _place_in_code(func: Callable[..., Any]) -> dict[str, Any]:
    code = getattr(inspect.unwrap(func), "__code__", None)
    if code is None:
        return {}
    return {names.CODE_FILE_PATH: code.co_filename, names.CODE_LINE_NUMBER: code.co_firstlineno}


def performance_context(operation: str, /, **attributes: Any) -> Scope:
    """Record a block of code as one operation, with ``with`` or ``async with``.

    The span is named `operation` and carries `attributes`; it says wall, CPU and memory of the block.
    In a task, a block that no monitored call encloses has no CPU figure: the thread runs others too.

    >>> with performance_context("sum up", rows=10):
    ...     total = sum(range(10))
    >>> get_performance_stats("sum up")["total_calls"]
    1
    """
    return Scope(operation_site(operation), attributes)


def track_resource_usage(operation: str) -> Scope:
    """Record a block of code as `performance_context` does, and log one INFO record of what it took.

    The record's message, and its fields `operation`, `duration` (s), `memory_start_mb`, `memory_end_mb`
    and `memory_peak_mb` (MiB; None where it is not known), say it; `error` is there if the block failed.

    >>> with track_resource_usage("load index"):
    ...     total = sum(range(10))
    """
    return Scope(_tracked_site(operation))


def profile_memory_usage(func: Callable[P, R]) -> Callable[P, R]:
    """Record each call of a function as an operation, and log what it took as `track_resource_usage` does.

    Raises:
        TypeError: what is decorated is not callable.
    """

    def make_site(inner: Callable[..., Any]) -> Site:
        name, qualified = _names_of(inner)
        return _tracked_site(qualified, name)

    return _decorated(func, make_site)


def _tracked_site(operation: str, name: str | None = None) -> Site:
    from codoperf_otel._usage_log import log_usage  # not at the top: few programs have a use for it

    return operation_site(operation, name, functools.partial(log_usage, name or operation))


def operation_site(operation: str, name: str | None = None, report: Report | None = None) -> Site:
    """The site of an operation, counted by the global monitor under `name`, else under its own."""
    return Site(
        name or operation,
        operation,
        family=OPERATION,
        cell_name=operation,
        histogram=names.OPERATION_DURATION,
        sink=_performance_monitor.take,
        attributes={names.OPERATION_NAME: operation},
        report=report,
    )


class Operation:
    """The call in force, to say more of it."""

    __slots__ = ("_span",)

    def __init__(self, span: Span) -> None:
        self._span = span

    def set(self, name: str, value: AttributeValue) -> None:
        """Put an attribute on the call's span."""
        self._span.set_attribute(name, value)


def current_operation() -> Operation:
    """The innermost monitored call, operation, agent or tool in force here.

    Outside any, and in a call without a span, what is set is dropped.

    >>> with performance_context("load index"):
    ...     current_operation().set("index.shard", 3)
    """
    record = current_record()
    return Operation(INVALID_SPAN if record is None else record.span)


def get_performance_stats(function_name: str | None = None) -> dict[str, Any]:
    """The global monitor's statistics, as `PerformanceMonitor.get_stats` gives them."""
    return _performance_monitor.get_stats(function_name)


def clear_performance_metrics() -> None:
    """Empty the global monitor's statistics."""
    _performance_monitor.clear_metrics()
