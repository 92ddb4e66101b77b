"""The sources of the ``process.*`` and ``cpython.gc.*`` instruments.

All callbacks of one collection read one reading, kept 50 ms; none of them changes what another one,
or another reader's, will see.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from opentelemetry.metrics import Observation

from codoperf_otel import _forks
from codoperf_otel._readings import cgroup, process_readings
from codoperf_otel._readings.collection import Readings, leave_out
from codoperf_otel._telemetry import names


class Reading(NamedTuple):
    """All figures of the process at one time; None where the platform has none."""

    at_ns: int
    cpu: process_readings.Cpu | None
    resident: int | None
    virtual: int | None
    threads: int | None
    descriptors: int | None
    switches: process_readings.Switches | None
    faults: process_readings.Faults | None
    disk_io: process_readings.DiskIO | None
    uptime: float | None
    memory_limit: float | None
    throttled: float | None


def read(at_ns: int) -> Reading:
    """Take a reading now."""
    resident, virtual = process_readings.memory() or (None, None)
    return Reading(
        at_ns,
        process_readings.cpu(),
        resident,
        virtual,
        process_readings.threads(),
        process_readings.descriptors(),
        process_readings.switches(),
        process_readings.faults(),
        process_readings.disk_io(),
        process_readings.uptime(),
        cgroup.memory_limit(),
        cgroup.throttled_time(),
    )


Source = Callable[[], Iterable[Observation]]

_readings = Readings(read)
# what a forked child's group and interpreter had counted as long as it was the parent
_throttled_before = 0.0
_gc_before = [dict.fromkeys(generation, 0) for generation in gc.get_stats()]


def start() -> None:
    """Take the reading that the first CPU utilization is measured against."""
    _readings.latest()


def _figure(metric: str, name: str, attribute: str | None) -> Source:
    """The source of a metric that is one figure of a reading, each part of it under its attribute value."""

    def source() -> Iterable[Observation]:
        figure = getattr(_readings.latest(), name)
        if figure is None:
            leave_out(metric)
            return []
        return [Observation(figure)] if attribute is None else _parts(figure, attribute)

    return source


def _parts(figure: Any, attribute: str) -> list[Observation]:
    return [Observation(number, {attribute: value}) for value, number in figure._asdict().items()]


def _cpu_utilization() -> Iterable[Observation]:
    latest, earlier = _readings.compared()
    if earlier is None or latest.cpu is None or earlier.cpu is None:
        return []
    available = (latest.at_ns - earlier.at_ns) / 1e9 * process_readings.available_cpus()
    spent = process_readings.Cpu(latest.cpu.user - earlier.cpu.user, latest.cpu.system - earlier.cpu.system)
    return _parts(process_readings.Cpu(spent.user / available, spent.system / available), names.CPU_MODE)


def _memory_limit() -> Iterable[Observation]:
    limit = _readings.latest().memory_limit
    if limit is None:
        leave_out(names.PROCESS_MEMORY_LIMIT)
    return [] if limit is None or limit == math.inf else [Observation(limit)]


def _throttled_time() -> Iterable[Observation]:
    throttled = _readings.latest().throttled
    if throttled is None:
        leave_out(names.PROCESS_CPU_THROTTLED_TIME)
        return []
    return [Observation(throttled - _throttled_before)]


def _gc(statistic: str) -> Source:
    def source() -> Iterable[Observation]:
        return [
            Observation(generation[statistic] - before[statistic], {names.CPYTHON_GC_GENERATION: number})
            for number, (generation, before) in enumerate(zip(gc.get_stats(), _gc_before, strict=True))
        ]

    return source


_FIGURES: dict[str, tuple[str, str | None]] = {
    names.PROCESS_CPU_TIME: ("cpu", names.CPU_MODE),
    names.PROCESS_UPTIME: ("uptime", None),
    names.PROCESS_MEMORY_USAGE: ("resident", None),
    names.PROCESS_MEMORY_VIRTUAL: ("virtual", None),
    names.PROCESS_THREAD_COUNT: ("threads", None),
    names.PROCESS_FILE_DESCRIPTOR_COUNT: ("descriptors", None),
    names.PROCESS_CONTEXT_SWITCHES: ("switches", names.PROCESS_CONTEXT_SWITCH_TYPE),
    names.PROCESS_PAGING_FAULTS: ("faults", names.PAGING_FAULT_TYPE),
    names.PROCESS_DISK_IO: ("disk_io", names.DISK_IO_DIRECTION),
}

SOURCES: dict[str, Source] = {metric: _figure(metric, *figure) for metric, figure in _FIGURES.items()} | {
    names.PROCESS_CPU_UTILIZATION: _cpu_utilization,
    names.PROCESS_MEMORY_LIMIT: _memory_limit,
    names.PROCESS_CPU_THROTTLED_TIME: _throttled_time,
    names.CPYTHON_GC_COLLECTIONS: _gc("collections"),
    names.CPYTHON_GC_COLLECTED_OBJECTS: _gc("collected"),
    names.CPYTHON_GC_UNCOLLECTABLE_OBJECTS: _gc("uncollectable"),
}


@_forks.in_child
def _forked() -> None:
    global _readings, _gc_before, _throttled_before
    _readings = Readings(read)
    _gc_before = gc.get_stats()
    _throttled_before = cgroup.throttled_time() or 0.0
