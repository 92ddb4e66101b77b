"""The readings of the whole machine, and the sources of the ``system.*`` instruments."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import NamedTuple

from opentelemetry.metrics import Observation

from codoperf_otel import _forks
from codoperf_otel._readings import system_readings
from codoperf_otel._readings.collection import Readings, leave_out
from codoperf_otel._telemetry import names
from codoperf_otel._telemetry.attribute_sets import Attributes, AttributeSets

LEAST_NS = 100_000_000
"""The shortest time in which the CPU's clock ticks often enough for a share."""

_WAITING = ("idle", "iowait")


class Reading(NamedTuple):
    """All figures of the machine at one time; None where the platform has none."""

    at_ns: int
    timestamp: float
    cpu: system_readings.CpuTimes | None
    memory: system_readings.Memory | None
    filesystem: system_readings.Filesystem | None
    network: dict[str, system_readings.Traffic] | None


def read(at_ns: int) -> Reading:
    """Take a reading now."""
    return Reading(
        at_ns,
        time.time(),
        system_readings.cpu(),
        system_readings.memory(),
        system_readings.filesystem(),
        system_readings.network(),
    )


_readings = Readings(read)


def start() -> None:
    """Take the reading that the first CPU utilization is measured against."""
    _readings.latest()


def current() -> tuple[Reading, Reading | None]:
    """A reading at most 50 ms old, and the last one at least 0.1 s older, if there is one."""
    return _readings.compared(LEAST_NS)


def utilization(latest: Reading, earlier: Reading | None) -> system_readings.CpuTimes | None:
    """The share of the CPUs' time by mode between two readings, or since the machine started."""
    if latest.cpu is None:
        return None
    before = earlier.cpu if earlier is not None and earlier.cpu is not None else {}
    # the kernel lets idle and iowait run back now and then
    spent = {mode: max(seconds - before.get(mode, 0.0), 0.0) for mode, seconds in latest.cpu.items()}
    elapsed = sum(spent.values())
    return {mode: seconds / elapsed for mode, seconds in spent.items()} if elapsed else None


def busy(shares: system_readings.CpuTimes) -> float:
    """The share of the CPUs' time in which they did something."""
    return min(sum(share for mode, share in shares.items() if mode not in _WAITING), 1.0)


Source = Callable[[], Iterable[Observation]]


def _cpu_utilization() -> Iterable[Observation]:
    latest, earlier = _readings.compared()
    if earlier is None:
        return []
    return _each(names.SYSTEM_CPU_UTILIZATION, utilization(latest, earlier), names.CPU_MODE)


def _memory_usage() -> Iterable[Observation]:
    known = _readings.latest().memory
    return _each(names.SYSTEM_MEMORY_USAGE, known and known.states, names.SYSTEM_MEMORY_STATE)


def _memory_utilization() -> Iterable[Observation]:
    known = _readings.latest().memory
    shares = known and {state: size / known.total for state, size in known.states.items()}
    return _each(names.SYSTEM_MEMORY_UTILIZATION, shares, names.SYSTEM_MEMORY_STATE)


def _filesystem_utilization() -> Iterable[Observation]:
    known = _readings.latest().filesystem
    shares = known and {state: size / known.total for state, size in known.states().items()}
    return _each(
        names.SYSTEM_FILESYSTEM_UTILIZATION, shares, names.SYSTEM_FILESYSTEM_STATE, _filesystem_attributes()
    )


def _each(
    metric: str,
    figure: Mapping[str, float] | None,
    attribute: str,
    common: Attributes | None = None,
) -> list[Observation]:
    """An observation for each part of a figure, with the part's name as the value of `attribute`."""
    if figure is None:
        leave_out(metric)
        return []
    return [Observation(number, {**(common or {}), attribute: value}) for value, number in figure.items()]


@cache
def _filesystem_attributes() -> Attributes:
    """What the root directory is mounted from and how, as far as the platform reports it."""
    attributes: Attributes = {names.SYSTEM_FILESYSTEM_MOUNTPOINT: system_readings.ROOT}
    if (mount := system_readings.mount()) is not None:
        attributes[names.SYSTEM_DEVICE] = mount.device
        attributes[names.SYSTEM_FILESYSTEM_TYPE] = mount.type
        attributes[names.SYSTEM_FILESYSTEM_MODE] = mount.mode
    return attributes


_interfaces = AttributeSets()


def _network_io() -> Iterable[Observation]:
    known = _readings.latest().network
    if known is None:
        leave_out(names.SYSTEM_NETWORK_IO)
        return []
    return [
        Observation(count, _interface_attributes(interface, direction))
        for interface, traffic in known.items()
        for direction, count in traffic._asdict().items()
    ]


def _interface_attributes(interface: str, direction: str) -> Attributes:
    """Names of interfaces come and go with containers: each takes its places among the attribute sets."""
    attributes = {names.NETWORK_INTERFACE_NAME: interface, names.NETWORK_IO_DIRECTION: direction}
    return _interfaces.get((interface, direction), attributes)


SOURCES: dict[str, Source] = {
    names.SYSTEM_CPU_UTILIZATION: _cpu_utilization,
    names.SYSTEM_MEMORY_USAGE: _memory_usage,
    names.SYSTEM_MEMORY_UTILIZATION: _memory_utilization,
    names.SYSTEM_NETWORK_IO: _network_io,
    names.SYSTEM_FILESYSTEM_UTILIZATION: _filesystem_utilization,
}


_forks.in_child(_readings.begin_lock_anew)
