"""An operation that is tracked from a start to a stop, with its span and its snapshots."""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping
from threading import get_ident
from typing import TYPE_CHECKING, Any

from codoperf_otel import _forks
from codoperf_otel._calls.operation_sites import operation_site
from codoperf_otel._calls.scopes import Scope
from codoperf_otel._calls.tasks import running_task
from codoperf_otel._readings import peak, sampler
from codoperf_otel._readings.snapshots import BoundedSnapshots, ResourceSnapshot, Snapshots
from codoperf_otel._statistics.resource_reports import ResourceTrackingResult

if TYPE_CHECKING:
    from codoperf_otel._calls.allocation_meter import AllocationMeter, OpenAllocations

_MIB = 1 << 20
_GOOD = 10
_HIGH, _MEDIUM = 50, 20


class Tracking:
    """One operation while it is tracked. The sampler calls it."""

    def __init__(
        self,
        operation: str,
        context: Mapping[str, Any] | None,
        interval: float,
        limit: int,
        meter: AllocationMeter | None,
    ) -> None:
        self.operation = operation
        self.owner = here()
        self._limit = limit
        self._context = context
        self._interval = interval
        self._meter = meter
        self._allocations: OpenAllocations | None = None
        self._scope = Scope(operation_site(operation))

    def begin(self) -> None:
        """Begin the operation, and take snapshots from now on."""
        self._begin_snapshots()
        self._scope.__enter__()
        if self._meter is not None:
            self._allocations = self._meter.open()
        self._window = peak.open_window()
        self._started, self._began = time.time(), time.perf_counter_ns()
        self._cpu_began = time.process_time_ns()
        self.snapshots.add(self._reader.take())
        sampler.shared.subscribe(self, self._interval)

    def _begin_snapshots(self) -> None:
        self._generation = _forks.generation
        self.snapshots = BoundedSnapshots(self._limit - 1)  # the last one comes at the end
        self._reader = Snapshots(self._context)

    def _begin_in_child(self) -> None:
        """Take the figures from the fork on: those of before are the parent's."""
        self._begin_snapshots()
        self._window = None
        self._cpu_began = 0

    def __call__(self, _: int) -> None:
        """Take a snapshot, as the sampler asks."""
        self.snapshots.add(self._reader.take())

    def stop(self) -> ResourceTrackingResult:
        """End it; returns what was used."""
        if self._generation != _forks.generation:
            self._begin_in_child()
        sampler.shared.unsubscribe(self)
        duration = (time.perf_counter_ns() - self._began) / 1e9
        cpu_time = (time.process_time_ns() - self._cpu_began) / 1e9
        used = None if self._window is None else self._window.close()
        last = self._reader.take()
        allocated = self._allocated()
        self._scope.__exit__(None, None, None)
        highest = used.peak if used is not None and used.peak is not None else 0
        result = self._result(duration, cpu_time, highest / _MIB, [*self.snapshots.kept, last])
        result.summary.update(allocated)
        return result

    def _allocated(self) -> dict[str, Any]:
        """What was allocated, for the summary; the span has it too."""
        traced, self._allocations = self._allocations, None
        if traced is None:
            return {}
        self._scope.span.set_attributes(traced.close())
        traced.mark(self._scope.span)
        return traced.summary()

    def drop(self) -> None:
        """End it where nobody asks for the result: its tracker is gone, or a signal handler has raised."""
        sampler.shared.unsubscribe(self)
        self._window = self._allocations = None
        self._scope.abandon()

    def _result(
        self, duration: float, cpu_time: float, highest: float, snapshots: list[ResourceSnapshot]
    ) -> ResourceTrackingResult:
        delta = snapshots[-1].memory_rss_mb - snapshots[0].memory_rss_mb
        percent = 100 * cpu_time / duration if duration else 0.0
        return ResourceTrackingResult(
            operation=self.operation,
            start_time=self._started,
            end_time=self._started + duration,
            duration=duration,
            snapshots=snapshots,
            peak_memory_rss_mb=max([highest, *(each.memory_rss_mb for each in snapshots)]),
            peak_memory_vms_mb=max(each.memory_vms_mb for each in snapshots),
            average_cpu_percent=percent,
            total_cpu_time=cpu_time,
            memory_delta_mb=delta,
            summary={
                "total_snapshots": len(snapshots),
                "sample_interval": self._interval,
                "memory_trend": _trend(delta),
                "cpu_intensity": "high" if percent > _HIGH else "medium" if percent > _MEDIUM else "low",
                "thread_count": snapshots[-1].num_threads,
                "tracking_quality": "good" if len(snapshots) > _GOOD else "limited",
            },
        )


def _trend(delta_mb: float) -> str:
    if delta_mb > 1:
        return "increasing"
    return "decreasing" if delta_mb < -1 else "stable"


def here() -> Hashable:
    """The task, else the thread, in which this runs."""
    task = running_task()
    return get_ident() if task is None else id(task)
