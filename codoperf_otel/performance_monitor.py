"""Monitoring of functions and operations: decorators, context managers and the statistics they feed."""

from __future__ import annotations

import inspect
import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from codoperf_otel._calls import Scope, monitored
from codoperf_otel._readings import memory as _memory
from codoperf_otel._recording import Site
from codoperf_otel._statistics import FUNCTION, OPERATION
from codoperf_otel._summary import Entry, Statistics
from codoperf_otel._telemetry import names

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "HAS_PSUTIL",
    "PerformanceMetrics",
    "PerformanceMonitor",
    "clear_performance_metrics",
    "get_performance_stats",
    "monitor_performance",
    "performance_context",
    "profile_function",
]

P = ParamSpec("P")
R = TypeVar("R")

HAS_PSUTIL = find_spec("psutil") is not None
"""Whether psutil can be found; it is not imported to find out."""

log = logging.getLogger("codoperf_otel.performance_monitor")


@dataclass
class PerformanceMetrics:
    """One finished call.

    ``execution_time`` is in seconds, ``memory_usage_mb`` the resident memory of the process at its end
    in MiB, ``cpu_percent`` 100 x CPU time / execution time, ``timestamp`` the end in Unix seconds.
    Memory and CPU are None where they could not be measured.
    """

    function_name: str
    execution_time: float
    memory_usage_mb: float | None
    cpu_percent: float | None
    timestamp: float = field(default_factory=time.time)
    metadata: dict[str, Any] = field(default_factory=dict)


class PerformanceMonitor:
    """Statistics of calls by name: exact over every call ever recorded, in constant memory a name.

    `newest` is how many calls `metrics` keeps. With `log_file`, each call is appended to it as one JSON
    object a line.

    >>> monitor = PerformanceMonitor()
    >>> monitor.record_metrics("load", 0.25, memory_usage_mb=80.0, cpu_percent=50.0)
    >>> monitor.get_stats("load")["execution_time"]["max"]
    0.25
    """

    def __init__(self, log_file: str | os.PathLike[str] | None = None, *, newest: int = 1000) -> None:
        self.log_file = None if log_file is None else _path(log_file)
        self._statistics = Statistics(newest)
        self._warned = False

    @property
    def metrics(self) -> list[PerformanceMetrics]:
        """The newest calls, oldest first."""
        return [_as_metrics(entry) for entry in self._statistics.newest()]

    def record_metrics(
        self,
        function_name: str,
        execution_time: float,
        memory_usage_mb: float | None = None,
        cpu_percent: float | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Count a call that was measured elsewhere; it goes to the statistics, not to telemetry.

        Without `memory_usage_mb` the process's resident memory is read, at most every 100 ms.
        """
        if memory_usage_mb is None:
            memory_usage_mb = _memory.recent_rss_mb(time.perf_counter_ns())
        self._take(
            Entry(function_name, execution_time, memory_usage_mb, cpu_percent, time.time(), metadata or {})
        )

    def _take(self, entry: Entry) -> None:
        self._statistics.append(entry)
        if self.log_file is not None:
            self._write(self.log_file, entry)

    def _write(self, path: Path, entry: Entry) -> None:
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(_as_json(_as_metrics(entry)) + "\n")
        except OSError as error:
            if not self._warned:
                self._warned = True
                log.warning("performance log %s cannot be written: %s", path, error)

    def get_stats(self, function_name: str | None = None) -> dict[str, Any]:
        """The statistics of one name, or of all: ``{}`` before the first call.

        ``total_calls``; ``execution_time`` in seconds with min, max, avg, total, p50, p95, p99;
        ``memory_usage_mb`` and ``cpu_percent`` with min, max, avg.
        """
        summary = self._statistics.summary(function_name)
        return {} if summary is None else {"function_name": function_name or "all", **summary.as_dict()}

    def clear_metrics(self) -> None:
        """Forget all statistics. Telemetry is not touched: a counter must not run back."""
        self._statistics.clear()

    def export_metrics(self, file_path: str | os.PathLike[str]) -> None:
        """Write the newest calls as a JSON list, replacing the file in one step.

        Raises:
            OSError: the file cannot be written; it names the path.
        """
        path = _path(file_path)
        rows = ",\n  ".join(_as_json(metrics) for metrics in self.metrics)
        try:
            _replace(path, f"[\n  {rows}\n]\n" if rows else "[]\n")
        except OSError as error:
            raise OSError(error.errno, f"metrics cannot be exported: {error.strerror}", str(path)) from error


def _path(given: str | os.PathLike[str]) -> Path:
    from pathlib import Path  # not at the top: it costs a tenth of this package's import

    return Path(given)


def _replace(path: Path, text: str) -> None:
    import tempfile

    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)  # noqa: PTH105
    except BaseException:
        os.unlink(temporary)  # noqa: PTH108
        raise


def _as_metrics(entry: Entry) -> PerformanceMetrics:
    return PerformanceMetrics(*entry)


def _as_json(metrics: PerformanceMetrics) -> str:
    import json

    return json.dumps(asdict(metrics), default=repr, skipkeys=True)


_performance_monitor = PerformanceMonitor()


@overload
def monitor_performance(function_name: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def monitor_performance(
    function_name: str | None = None, monitor: PerformanceMonitor | None = None, *, memory: bool = False
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def monitor_performance(
    function_name: str | Callable[..., Any] | None = None,
    monitor: PerformanceMonitor | None = None,
    *,
    memory: bool = False,
) -> Any:
    """Monitor every call of a function: a span, its duration, its CPU time, its statistics.

    Functions, coroutine functions, generator and async generator functions stay what they are. The
    statistics are kept under `function_name`, else under the function's own name, by `monitor`, else by
    the global monitor; the span is named `function_name`, else ``module.qualname``. With `memory`, the
    span also says what the process's memory was at the start, at the end and at its highest.

    >>> @monitor_performance("area")
    ... def area(width, height):
    ...     return width * height
    >>> area(2, 3)
    6
    >>> get_performance_stats("area")["total_calls"]
    1

    Raises:
        TypeError: what is decorated is not callable.
    """
    if callable(function_name):
        return monitored(function_name, lambda func: _function_site(func, None, None, memory=False))
    if function_name is not None and not isinstance(function_name, str):
        raise TypeError(f"monitor_performance takes a name or a function, not {function_name!r}")
    return lambda func: monitored(
        func, lambda inner: _function_site(inner, function_name, monitor, memory=memory)
    )


profile_function = monitor_performance


def _function_site(
    func: Callable[..., Any], name: str | None, monitor: PerformanceMonitor | None, *, memory: bool
) -> Site:
    if not callable(func):
        raise TypeError(f"only a callable can be monitored, not {func!r}")
    own_name = getattr(func, "__name__", type(func).__name__)
    qualified = f"{getattr(func, '__module__', '?')}.{getattr(func, '__qualname__', own_name)}"
    return Site(
        name or own_name,
        name or qualified,
        family=FUNCTION,
        cell_name=qualified,
        histogram=names.FUNCTION_DURATION,
        sink=(monitor or _performance_monitor)._take,
        attributes={names.CODE_FUNCTION_NAME: qualified, **_place_in_code(func)},
        memory=memory,
    )


def _place_in_code(func: Callable[..., Any]) -> dict[str, Any]:
    code = getattr(inspect.unwrap(func), "__code__", None)
    if code is None:
        return {}
    return {names.CODE_FILE_PATH: code.co_filename, names.CODE_LINE_NUMBER: code.co_firstlineno}


def performance_context(operation: str, /, **attributes: Any) -> Scope:
    """Record a block of code as one operation, with ``with`` or ``async with``.

    The span is named `operation` and carries `attributes`; it says wall, CPU and memory of the block.
    In a task, a block that no monitored call encloses has no CPU figure: the thread runs others too.

    >>> with performance_context("load index", shard=3):
    ...     total = sum(range(10))
    >>> get_performance_stats("load index")["total_calls"]
    1
    """
    return Scope(operation_site(operation), attributes)


def operation_site(operation: str) -> Site:
    """The site of an operation by name, counted by the global monitor."""
    return Site(
        operation,
        operation,
        family=OPERATION,
        cell_name=operation,
        histogram=names.OPERATION_DURATION,
        sink=_performance_monitor._take,
        attributes={names.OPERATION_NAME: operation},
    )


def get_performance_stats(function_name: str | None = None) -> dict[str, Any]:
    """The global monitor's statistics, as `PerformanceMonitor.get_stats` gives them."""
    return _performance_monitor.get_stats(function_name)


def clear_performance_metrics() -> None:
    """Empty the global monitor's statistics."""
    _performance_monitor.clear_metrics()
