"""The monitor, which keeps the statistics of the calls under each recorded name."""

from __future__ import annotations

import logging
import os
import time
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from codoperf_otel._once import Once
from codoperf_otel._readings import memory as _memory
from codoperf_otel._statistics.ledgers import Entry, Statistics
from codoperf_otel._telemetry.interrupts import raise_interrupt
from codoperf_otel._telemetry.records import represented

if TYPE_CHECKING:
    from pathlib import Path

    from codoperf_otel._statistics.finished_calls import PerformanceMetrics

log = logging.getLogger("codoperf_otel.performance_monitor")

HIGHEST = 1e29
"""Above all figures that can be recorded: in nanoseconds it is still a float of 32 bits."""


class PerformanceMonitor:
    """Statistics of calls by name: exact over every call ever recorded, in constant memory per name.

    `newest` is how many calls `metrics` keeps. With `log_file`, each call is appended to that file as one
    JSON object per line. Statistics of names beyond the first 10,000 are kept together, under ``(other)``.

    >>> monitor = PerformanceMonitor()
    >>> monitor.record_metrics("load", 0.25, memory_usage_mb=80.0, cpu_percent=50.0)
    >>> monitor.get_stats("load")["execution_time"]["max"]
    0.25
    """

    def __init__(self, log_file: str | os.PathLike[str] | None = None, *, newest: int = 1000) -> None:
        self.log_file = None if log_file is None else _path(log_file)
        self._newest = newest
        self._cpu = _CpuShare()
        self._is_first_failure = Once()
        self.statistics = Statistics(newest)

    def __reduce__(self) -> str | tuple[Any, ...]:
        """In another process the global monitor is that process's own, and any other one is empty."""
        if self is global_monitor:
            return "global_monitor"
        return partial(PerformanceMonitor, newest=self._newest), (self.log_file,)

    @property
    def metrics(self) -> list[PerformanceMetrics]:
        """The newest calls, oldest first."""
        from codoperf_otel._statistics.finished_calls import as_metrics  # here and below: few programs ask

        return [as_metrics(entry) for entry in self.statistics.newest_entries()]

    def record_metrics(
        self,
        function_name: str,
        execution_time: float,
        memory_usage_mb: float | None = None,
        cpu_percent: float | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Count a call that was measured elsewhere; it goes to the statistics, not to telemetry.

        Without `memory_usage_mb` the process's resident memory is read, at most every 100 ms. Without
        `cpu_percent` the CPU time of the process since the last such call is taken, in percent of the time
        that passed; at the first call it is 0.0.

        Raises:
            TypeError: the name is no text, or a figure is no number.
            ValueError: a figure is negative or not finite.
        """
        if not isinstance(function_name, str):
            raise TypeError(f"function_name must be a text, not {function_name!r}")
        seconds = _figure("execution_time", execution_time)
        if memory_usage_mb is None:
            memory_usage_mb = _memory.recent.mb_at(time.perf_counter_ns())
        else:
            memory_usage_mb = _figure("memory_usage_mb", memory_usage_mb)
        share = self._cpu.since_last() if cpu_percent is None else _figure("cpu_percent", cpu_percent)
        ledger = self.statistics.own(function_name)
        entry = (time.time_ns(), seconds * 1e9, memory_usage_mb, share / 100, metadata, ledger)
        ledger.append(entry)
        if self.log_file is not None:
            self.log(entry)

    def log(self, entry: Entry) -> None:
        """Append a finished call to the log file."""
        from codoperf_otel._statistics.finished_calls import as_json, as_metrics

        try:
            with cast("Path", self.log_file).open("a", encoding="utf-8") as file:
                file.write(as_json(as_metrics(entry)) + "\n")
        except (OSError, ValueError) as error:
            raise_interrupt(error)
            if self._is_first_failure():
                _warn("performance log %s cannot be written: %s", self.log_file, error)

    def get_stats(self, function_name: str | None = None) -> dict[str, Any]:
        """The statistics of one name, or of all names where it is None; ``{}`` before the first call.

        ``total_calls``; ``execution_time`` in seconds with min, max, avg, total, p50, p95, p99;
        ``memory_usage_mb`` and ``cpu_percent`` with min, max, avg.
        """
        summary = self.statistics.summary(function_name)
        return {} if summary is None else {"function_name": function_name or "all", **summary.as_dict()}

    def clear_metrics(self) -> None:
        """Forget all statistics. Telemetry is not touched: a counter must not run back."""
        self.statistics.clear()

    def export_metrics(self, file_path: str | os.PathLike[str]) -> None:
        """Write the newest calls as a JSON list, replacing the file in one step.

        Raises:
            OSError: the file cannot be written; it names the path.
        """
        from codoperf_otel._statistics.finished_calls import as_json

        path = _path(file_path)
        rows = ",\n  ".join(as_json(metrics) for metrics in self.metrics)
        try:
            _replace(path, f"[\n  {rows}\n]\n" if rows else "[]\n")
        except OSError as error:
            raise OSError(error.errno, f"metrics cannot be exported: {error.strerror}", str(path)) from error


def _warn(*said: object) -> None:
    try:
        log.warning(*said)
    except Exception as failure:  # of a log handler
        raise_interrupt(failure)


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


def _figure(name: str, value: Any) -> float:
    if not hasattr(type(value), "__float__"):
        raise TypeError(f"{name} must be a number, not {value!r}")
    try:
        figure = float(value)
    except OverflowError:
        figure = -1.0
    except Exception as error:
        raise_interrupt(error)
        raise TypeError(f"{name} must be a number, not {represented(value):.40}") from error
    if not 0 <= figure < HIGHEST:
        raise ValueError(f"{name} is {represented(value):.40}: it must be a number from 0 to {HIGHEST:g}")
    return figure


class _CpuShare:
    """The CPU time of the process in percent of the time that passes."""

    def __init__(self) -> None:
        self._last: tuple[int, int] | None = None

    def since_last(self) -> float:
        """The share since the last time that it was asked for; 0.0 at the first."""
        now = time.perf_counter_ns(), time.process_time_ns()
        last, self._last = self._last, now
        if last is None or now[0] <= last[0]:
            return 0.0
        return 100 * max(0, now[1] - last[1]) / (now[0] - last[0])


global_monitor = PerformanceMonitor()
