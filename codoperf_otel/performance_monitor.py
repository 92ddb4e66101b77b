"""Monitoring of functions and operations: decorators, context managers and the statistics they feed."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from opentelemetry.trace import INVALID_SPAN, Span
from opentelemetry.util.types import AttributeValue

from codoperf_otel import _environment_variables as variables
from codoperf_otel._calls.cells import FUNCTION
from codoperf_otel._calls.context import current_call
from codoperf_otel._calls.meters import MEMORY
from codoperf_otel._calls.operation_sites import operation_site, tracked_site
from codoperf_otel._calls.sites import Site, SpanRate
from codoperf_otel._decorating import (
    OperationScope,
    checked_monitor,
    checked_name,
    checked_names,
    decorated,
    names_of,
    place_in_code,
)
from codoperf_otel._statistics.monitor import PerformanceMonitor
from codoperf_otel._statistics.monitor import global_monitor as _performance_monitor
from codoperf_otel._telemetry import names

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

if TYPE_CHECKING:
    from codoperf_otel._calls.capture import Redact
    from codoperf_otel._statistics.finished_calls import PerformanceMetrics
    from codoperf_otel.system_monitor import SystemMetrics, SystemMonitor, get_system_metrics

P = ParamSpec("P")
R = TypeVar("R")

HAS_PSUTIL: bool
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
    *,
    memory: bool = False,
    capture: Iterable[str] = (),
    redact: Redact | None = None,
    max_spans_per_second: float | None = None,
    min_span_duration: float | None = None,
) -> Any:
    """Monitor every call of a function: a span, its duration, its CPU time, its statistics.

    Functions, coroutine functions, generator and async generator functions stay what they are; a class
    has its public methods monitored. The statistics are kept under `function_name`, else under the
    function's own name, by `monitor`, else by the global monitor; the span is named `function_name`,
    else ``module.qualname``. With ``CODOPERF_OTEL_ENABLED=false`` the function itself is returned.

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
        redact: called with the name and the value of what is captured; what it returns is shown instead.
        max_spans_per_second: above this rate a call has no span; metrics and statistics stay exact.
            0.5 is one span in two seconds.
        min_span_duration: seconds below which a call that succeeds has no span, unless a span starts
            inside it, or anybody else asks for its ids. What is long enough has its true start and end.

    Raises:
        TypeError: the name is no text, the monitor none; what is decorated is not callable.
        ValueError: an option, or the variable that stands for it, is wrong; the message names it, its
            value and what is allowed. The name is empty.
    """
    make_site = functools.partial(
        _function_site,
        monitor=checked_monitor("monitor_performance", monitor),
        memory=memory,
        capture=checked_names("capture", capture),
        redact=redact,
        max_spans_per_second=max_spans_per_second,
        min_span_duration=min_span_duration,
    )
    if function_name is None:
        return lambda func: _monitor(func, None, make_site)
    if isinstance(function_name, str):
        name = checked_name("monitor_performance", function_name)
        return lambda func: _monitor(func, name, make_site)
    return _monitor(function_name, None, make_site)


profile_function = monitor_performance


def _monitor_selected(func: Callable[P, R], rate: float | None, together: SpanRate | None) -> Callable[P, R]:
    """Monitor a function that a pattern selects; `together` is the rate that all of them share."""
    make_site = functools.partial(_function_site, max_spans_per_second=rate, together=together)
    return _monitor(func, None, make_site)


def _monitor(func: Callable[P, R], name: str | None, make_site: Callable[..., Site]) -> Callable[P, R]:
    def site_of(inner: Callable[..., Any]) -> Site:
        return make_site(inner, f"{name}.{inner.__name__}" if name and isinstance(func, type) else name)

    return decorated("monitor_performance", func, site_of)


def _function_site(
    func: Callable[..., Any],
    name: str | None,
    *,
    monitor: PerformanceMonitor = _performance_monitor,
    memory: bool = False,
    capture: tuple[str, ...] = (),
    redact: Redact | None = None,
    max_spans_per_second: float | None,
    min_span_duration: float | None = None,
    together: SpanRate | None = None,
) -> Site:
    own_name, qualified = names_of(func)
    captured = None
    if capture:
        from codoperf_otel._calls.capture import Capture  # not at the top: few functions show their arguments

        captured = Capture(func, capture, redact)
    rate = variables.option_or_variable(
        "max_spans_per_second", max_spans_per_second, variables.MAX_SPANS_PER_SECOND, variables.positive
    )
    shortest = variables.option_or_variable(
        "min_span_duration", min_span_duration, variables.MIN_SPAN_DURATION, variables.positive
    )
    return Site(
        name or own_name,
        name or qualified,
        family=FUNCTION,
        cell_name=qualified,
        histogram=names.FUNCTION_DURATION,
        monitor=monitor,
        attributes={names.CODE_FUNCTION_NAME: qualified, **place_in_code(func)},
        meters=(MEMORY,) if memory else (),
        capture=captured,
        span_rate=SpanRate(rate, together) if rate is not None else None,
        min_span_ns=int(min(shortest * 1e9, sys.maxsize)) if shortest is not None else 0,
    )


def performance_context(operation: str, /, **attributes: Any) -> OperationScope:
    """Record a block of code as one operation, with ``with`` or ``async with``; or each call of a function.

    The span is named `operation` and carries `attributes`; it says wall, CPU and memory of the block.
    In a task, a block that no monitored call encloses has no CPU figure: the thread runs others too.

    >>> with performance_context("sum up", rows=10):
    ...     total = sum(range(10))
    >>> @performance_context("sum up", rows=20)
    ... def sum_up():
    ...     return sum(range(20))
    >>> sum_up()
    190
    >>> get_performance_stats("sum up")["total_calls"]
    2

    Raises:
        TypeError: the name is no text; what is decorated is not callable.
        ValueError: the name is empty.
    """
    name = checked_name("performance_context", operation)
    return OperationScope("performance_context", functools.partial(operation_site, name), attributes)


def track_resource_usage(operation: str, *, allocations: bool = False) -> OperationScope:
    """Record what `performance_context` does, and log one INFO record of what it took.

    The record's message, and its fields `operation`, `duration` (s), `memory_start_mb`, `memory_end_mb`
    and `memory_peak_mb` (MiB; None where it is not known), say it; `error` is there if it failed.

    >>> with track_resource_usage("load index"):
    ...     total = sum(range(10))

    Args:
        operation: its name.
        allocations: the span also says what Python allocated in the process and still uses at the end, in
            bytes, and the five lines of code that allocated most. Tracing this makes a program slower.

    Raises:
        TypeError: the name is no text; what is decorated is not callable.
        ValueError: the name is empty.
    """
    name = checked_name("track_resource_usage", operation)
    make_site = functools.partial(tracked_site, name, allocations=allocations)
    return OperationScope("track_resource_usage", make_site)


def profile_memory_usage(func: Callable[P, R]) -> Callable[P, R]:
    """Record each call of a function as an operation, and log what it took as `track_resource_usage` does.

    Raises:
        TypeError: what is decorated is not callable.
    """

    def make_site(inner: Callable[..., Any]) -> Site:
        name, qualified = names_of(inner)
        return tracked_site(qualified, name)

    return decorated("profile_memory_usage", func, make_site)


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
    call = current_call()
    return Operation(INVALID_SPAN if call is None else call.span)


def get_performance_stats(function_name: str | None = None) -> dict[str, Any]:
    """The global monitor's statistics, as `PerformanceMonitor.get_stats` returns them."""
    return _performance_monitor.get_stats(function_name)


def clear_performance_metrics() -> None:
    """Empty the global monitor's statistics."""
    _performance_monitor.clear_metrics()


def __getattr__(name: str) -> Any:
    if name in {"SystemMetrics", "SystemMonitor", "get_system_metrics"}:
        from codoperf_otel import system_monitor  # not at the top: few programs read the machine's figures

        return getattr(system_monitor, name)
    if name == "PerformanceMetrics":
        from codoperf_otel._statistics import finished_calls  # likewise

        return finished_calls.PerformanceMetrics
    if name == "HAS_PSUTIL":
        from importlib.util import find_spec  # likewise

        return find_spec("psutil") is not None
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
