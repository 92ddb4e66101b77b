"""Reports of what tracked operations used, and comparisons of benchmarks."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from codoperf_otel._readings.snapshots import ResourceSnapshot
from codoperf_otel._statistics.rank_test import compare

_MOST = 5


@dataclass
class ResourceTrackingResult:
    """What the process used while an operation was tracked.

    Times are in Unix seconds, ``duration`` in seconds, memory in MiB. ``total_cpu_time`` is the CPU time of
    the whole process in between, in seconds, and ``average_cpu_percent`` its share of ``duration``, 100 for
    one CPU. ``memory_delta_mb`` is the resident memory at the end less that at the start.
    """

    operation: str
    start_time: float
    end_time: float
    duration: float
    snapshots: list[ResourceSnapshot]
    peak_memory_rss_mb: float
    peak_memory_vms_mb: float
    average_cpu_percent: float
    total_cpu_time: float
    memory_delta_mb: float
    summary: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The fields by their names, with ``snapshot_count`` in place of the snapshots."""
        fields = {**vars(self), "snapshots": []}
        found = asdict(ResourceTrackingResult(**fields))
        del found["snapshots"]
        return {**found, "snapshot_count": len(self.snapshots)}


def create_resource_report(results: Sequence[ResourceTrackingResult]) -> dict[str, Any]:
    """What several tracked operations used: totals, averages, and the five with the highest of each figure.

    Durations are in seconds, memory in MiB, CPU in percent of one CPU; ``generated_at`` is in Unix seconds.

    >>> create_resource_report([])["status"]
    'no_data'
    """
    if not results:
        return {"status": "no_data", "message": "no operation was tracked"}
    durations = [each.duration for each in results]
    peaks = [each.peak_memory_rss_mb for each in results]
    cpu = [each.average_cpu_percent for each in results]
    return {
        "summary": {
            "total_operations": len(results),
            "total_duration_seconds": sum(durations),
            "average_duration_seconds": statistics.fmean(durations),
            "max_peak_memory_mb": max(peaks),
            "average_peak_memory_mb": statistics.fmean(peaks),
            "max_cpu_usage_percent": max(cpu),
            "average_cpu_usage_percent": statistics.fmean(cpu),
        },
        "top_consumers": {
            "memory_hogs": _top(results, "peak_memory_mb", lambda each: each.peak_memory_rss_mb),
            "cpu_hogs": _top(results, "avg_cpu_percent", lambda each: each.average_cpu_percent),
            "slow_operations": _top(results, "duration_seconds", lambda each: each.duration),
        },
        "detailed_results": [each.to_dict() for each in results],
        "generated_at": time.time(),
    }


def _top(
    results: Iterable[ResourceTrackingResult], name: str, figure: Callable[[ResourceTrackingResult], float]
) -> list[dict[str, Any]]:
    highest = sorted(results, key=figure, reverse=True)[:_MOST]
    return [{"operation": each.operation, name: figure(each)} for each in highest]


def benchmark_metrics(
    iterations: int, durations: list[float], peaks: list[float], failures: list[dict[str, Any]]
) -> dict[str, Any]:
    """The figures of a benchmark: those of the iterations that did not fail; None where all did."""
    return {
        "iterations": iterations,
        "duration_stats": {
            "min": min(durations, default=None),
            "max": max(durations, default=None),
            "mean": statistics.fmean(durations) if durations else None,
            "std_dev": _spread(durations),
            "median": statistics.median(durations) if durations else None,
        },
        "memory_stats": {
            "min_peak": min(peaks, default=None),
            "max_peak": max(peaks, default=None),
            "mean_peak": statistics.fmean(peaks) if peaks else None,
        },
        "durations": durations,
        "failures": failures,
    }


def _spread(durations: list[float]) -> float | None:
    if len(durations) > 1:
        return statistics.stdev(durations)
    return 0.0 if durations else None


def compare_benchmarks(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Whether the second of two benchmarks is faster, slower or the same.

    Both are what `benchmark_resource_usage` returned. ``verdict`` is ``faster`` or ``slower`` where the
    Mann-Whitney test says so with a ``p_value`` below 0.05, else ``same``; ``change`` is the change of the
    median duration as a share of the one before, ``u`` the test's figure.

    >>> fast = {"benchmark_metrics": {"durations": [1.0, 1.1, 1.2, 1.3, 1.4]}}
    >>> slow = {"benchmark_metrics": {"durations": [2.0, 2.1, 2.2, 2.3, 2.4]}}
    >>> compare_benchmarks(fast, slow)["verdict"], compare_benchmarks(fast, fast)["verdict"]
    ('slower', 'same')

    Raises:
        ValueError: one of them has no iteration that did not fail.
    """
    first, second = _durations("before", before), _durations("after", after)
    verdict, change, tested = compare(first, second)
    return {"verdict": verdict, "change": change, "p_value": tested.p_value, "u": tested.u}


def _durations(name: str, benchmark: Mapping[str, Any]) -> list[float]:
    durations: list[float] = benchmark.get("benchmark_metrics", {}).get("durations", [])
    if not durations:
        raise ValueError(f"{name} is no benchmark with an iteration that did not fail")
    return durations
