"""The sources of the ``process.*`` and ``cpython.gc.*`` instruments.

All callbacks of one collection read one reading, kept 50 ms; none of them changes what another one,
or another reader's, will see.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from opentelemetry.metrics import Observation

from codoperf_otel._readings import figures
from codoperf_otel._readings.collection import Readings, leave_out
from codoperf_otel._telemetry import names


class Reading(NamedTuple):
    """All figures of the process at one time; None where the platform does not give one."""

    at_ns: int
    cpu: figures.Cpu | None
    resident: int | None
    virtual: int | None
    threads: int | None
    descriptors: int | None
    switches: figures.Switches | None
    faults: figures.Faults | None
    disk_io: figures.DiskIO | None
    uptime: float | None


def read(at_ns: int) -> Reading:
    """Take a reading now."""
    resident, virtual = figures.memory() or (None, None)
    return Reading(
        at_ns,
        figures.cpu(),
        resident,
        virtual,
        figures.threads(),
        figures.descriptors(),
        figures.switches(),
        figures.faults(),
        figures.disk_io(),
        figures.uptime(),
    )


Source = Callable[[], Iterable[Observation]]

_readings = Readings(read)
# what a forked child's interpreter counted as long as it was the parent's
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
    available = (latest.at_ns - earlier.at_ns) / 1e9 * figures.cpu_count()
    spent = figures.Cpu(latest.cpu.user - earlier.cpu.user, latest.cpu.system - earlier.cpu.system)
    return _parts(figures.Cpu(spent.user / available, spent.system / available), names.CPU_MODE)


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
    names.CPYTHON_GC_COLLECTIONS: _gc("collections"),
    names.CPYTHON_GC_COLLECTED_OBJECTS: _gc("collected"),
    names.CPYTHON_GC_UNCOLLECTABLE_OBJECTS: _gc("uncollectable"),
}


def _forked() -> None:
    global _readings, _gc_before
    _readings = Readings(read)
    _gc_before = gc.get_stats()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
