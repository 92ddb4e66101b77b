"""The sources of the ``process.*`` and ``cpython.gc.*`` instruments.

All callbacks of one collection read one reading, kept 50 ms; none of them changes what another one,
or another reader's, will see.
"""

from __future__ import annotations

import gc
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable
from threading import Lock
from time import monotonic_ns
from typing import Any, NamedTuple

from opentelemetry.metrics import Observation

from codoperf_otel._readings import figures
from codoperf_otel._telemetry import names

log = logging.getLogger("codoperf_otel.readings")

KEPT_NS = 50_000_000
COMPARED_NS = 1_000_000_000
"""CPU utilization is measured over at least this long."""


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


class Readings:
    """The last reading, and the earlier ones that utilization is measured against."""

    def __init__(
        self, clock: Callable[[], int] = monotonic_ns, take: Callable[[int], Reading] = read
    ) -> None:
        self._clock = clock
        self._take = take
        self._lock = Lock()
        self._history: deque[Reading] = deque()

    def latest(self) -> Reading:
        """A reading at most 50 ms old."""
        with self._lock:
            return self._latest()

    def compared(self) -> tuple[Reading, Reading | None]:
        """The latest reading, and the last one at least 1 s older, if there is one."""
        with self._lock:
            latest = self._latest()
            earlier = self._history[0]
            return latest, earlier if latest.at_ns - earlier.at_ns >= COMPARED_NS else None

    def _latest(self) -> Reading:
        history = self._history
        now = self._clock()
        if not history or now - history[-1].at_ns >= KEPT_NS:
            history.append(self._take(now))
            while len(history) > 1 and now - history[1].at_ns >= COMPARED_NS:
                history.popleft()
        return history[-1]


Source = Callable[[], Iterable[Observation]]

_readings = Readings()
# what a forked child's interpreter counted as long as it was the parent's
_gc_before = [dict.fromkeys(generation, 0) for generation in gc.get_stats()]
_left_out: set[str] = set()


def start() -> None:
    """Take the reading that the first CPU utilization is measured against."""
    _readings.latest()


def _figure(metric: str, name: str, attribute: str | None) -> Source:
    """The source of a metric that is one figure of a reading, each part of it under its attribute value."""

    def source() -> Iterable[Observation]:
        figure = getattr(_readings.latest(), name)
        if figure is None:
            _leave_out(metric)
            return []
        return [Observation(figure)] if attribute is None else _parts(figure, attribute)

    return source


def _parts(figure: Any, attribute: str) -> list[Observation]:
    return [Observation(number, {attribute: value}) for value, number in figure._asdict().items()]


def _leave_out(metric: str) -> None:
    if metric not in _left_out:
        _left_out.add(metric)
        log.info("%s cannot be read on this platform and is left out", metric)


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
    _readings = Readings()
    _gc_before = gc.get_stats()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
