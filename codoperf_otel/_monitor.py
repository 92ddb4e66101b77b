"""The monitor: what is known in the process of the calls under each recorded name."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from codoperf_otel._readings import memory as _memory
from codoperf_otel._statistics import BATCH
from codoperf_otel._summary import Entry, Statistics

if TYPE_CHECKING:
    from pathlib import Path

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
        self._newest = newest
        self._statistics = Statistics(newest)
        self._warned = False

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Another process has its own global monitor, and an empty one for any other."""
        if self is global_monitor:
            return "global_monitor"
        return partial(PerformanceMonitor, newest=self._newest), (self.log_file,)

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
        self.take((function_name, execution_time, memory_usage_mb, cpu_percent, time.time(), metadata))

    def take(self, entry: Entry) -> None:
        """Count a finished call."""
        log = self._statistics.log
        log.append(entry)
        if len(log) >= BATCH:
            self._statistics.fold()
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
    return PerformanceMetrics(*entry[:5], metadata=entry[5] or {})


def _as_json(metrics: PerformanceMetrics) -> str:
    import json

    return json.dumps(asdict(metrics), default=repr, skipkeys=True)


global_monitor = PerformanceMonitor()
