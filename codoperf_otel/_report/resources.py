"""Resources: what the recorded programs used in all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from codoperf_otel._report.model import MetricPoint, Telemetry
from codoperf_otel._report.sums import highest, total
from codoperf_otel._telemetry import names


@dataclass
class Resources:
    """What the programs used. Times are in seconds; what was not measured is null.

    ``self_cpu_seconds`` is the CPU time of operations, ``process_cpu_seconds`` all that the processes used.
    Their memory and threads are those of the newest reading of each.
    """

    spans: int | None
    errors: int
    processes: int
    self_cpu_seconds: float | None
    child_process_cpu_seconds: float | None
    memory_peak_bytes: float | None
    process_cpu_seconds: float | None
    process_memory_bytes: float | None
    process_threads: float | None
    uptime_seconds: float | None
    skipped_lines: int


def resources(telemetry: Telemetry) -> Resources:
    """What the programs of a recording used."""
    spans, points = telemetry.spans, telemetry.points
    return Resources(
        spans=len(spans),
        errors=sum(span.failed for span in spans),
        processes=len({span.process for span in spans}),
        self_cpu_seconds=total(span.self_cpu for span in spans),
        child_process_cpu_seconds=total(span.child_process_cpu for span in spans),
        memory_peak_bytes=highest(span.memory_peak for span in spans),
        process_cpu_seconds=total(_values(names.PROCESS_CPU_TIME, points)),
        process_memory_bytes=total(_values(names.PROCESS_MEMORY_USAGE, points)),
        process_threads=total(_values(names.PROCESS_THREAD_COUNT, points)),
        uptime_seconds=highest(_values(names.PROCESS_UPTIME, points)),
        skipped_lines=len(telemetry.problems),
    )


def _values(metric: str, points: Iterable[MetricPoint]) -> list[float]:
    return [point.value for point in points if point.name == metric]
