"""What the process used at one time, and over the time that an operation is tracked."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from codoperf_otel._readings import process_readings

_MIB = 1 << 20


@dataclass
class ResourceSnapshot:
    """What the process used at one time.

    ``memory_rss_mb`` and ``memory_vms_mb`` are its resident and virtual memory in MiB, ``cpu_times_user`` and
    ``cpu_times_system`` its CPU time so far in seconds. ``cpu_percent`` is its CPU time since the snapshot
    before as a share of that time, 100 for one CPU; 0.0 in the first. ``timestamp`` is in Unix seconds,
    ``num_fds`` the number of its file descriptors, ``context`` what was given when the tracking began. What
    the platform does not have is 0.
    """

    timestamp: float
    memory_rss_mb: float
    memory_vms_mb: float
    cpu_percent: float
    cpu_times_user: float
    cpu_times_system: float
    num_threads: int
    num_fds: int = 0
    context: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The fields by their names."""
        return asdict(self)


class Snapshots:
    """Snapshots one after the other, each with the share of CPU time since the one before."""

    def __init__(self, context: Mapping[str, Any] | None = None) -> None:
        self._context = dict(context or {})
        self._before: tuple[float, float] | None = None

    def take(self) -> ResourceSnapshot:
        """Read the process now."""
        memory, cpu = process_readings.memory(), process_readings.cpu()
        user, system = cpu or (0.0, 0.0)
        return ResourceSnapshot(
            timestamp=time.time(),
            memory_rss_mb=memory.resident / _MIB if memory else 0.0,
            memory_vms_mb=memory.virtual / _MIB if memory else 0.0,
            cpu_percent=self._percent(time.perf_counter(), user + system),
            cpu_times_user=user,
            cpu_times_system=system,
            num_threads=process_readings.threads() or 0,
            num_fds=process_readings.descriptors() or 0,
            context=dict(self._context),
        )

    def _percent(self, now: float, cpu_time: float) -> float:
        before, self._before = self._before, (now, cpu_time)
        if before is None or now <= before[0]:
            return 0.0
        return 100 * (cpu_time - before[1]) / (now - before[0])


class BoundedSnapshots:
    """At most `limit` snapshots: the first, the one with the highest memory, and others evenly in between.

    When there is no place left every other one goes, and from then on only every other one is kept.
    """

    def __init__(self, limit: int) -> None:
        self._most = limit - 1
        self._stride = 1
        self._number = 0
        self._even: list[tuple[int, ResourceSnapshot]] = []
        self._highest: tuple[int, ResourceSnapshot] | None = None

    def add(self, snapshot: ResourceSnapshot) -> None:
        """Take in one more."""
        numbered = (self._number, snapshot)
        self._number += 1
        if self._highest is None or snapshot.memory_rss_mb > self._highest[1].memory_rss_mb:
            self._highest = numbered
        if numbered[0] % self._stride == 0:
            self._even.append(numbered)
        if len(self._even) > self._most:
            self._even = self._even[::2]
            self._stride *= 2

    @property
    def kept(self) -> list[ResourceSnapshot]:
        """Those that are kept, oldest first."""
        found = dict(self._even)
        if self._highest is not None:
            found[self._highest[0]] = self._highest[1]
        return [found[number] for number in sorted(found)]
