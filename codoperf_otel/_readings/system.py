"""The readings of the whole machine, and the sources of the ``system.*`` instruments."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import NamedTuple

from opentelemetry.metrics import Observation

from codoperf_otel._readings import machine
from codoperf_otel._readings.collection import Readings, leave_out
from codoperf_otel._statistics import Attributes, attribute_set
from codoperf_otel._telemetry import names

LEAST_NS = 100_000_000
"""The shortest time in which the CPU's clock ticks often enough to tell a share."""

_WAITING = ("idle", "iowait")


class Reading(NamedTuple):
    """All figures of the machine at one time; None where the platform does not give one."""

    at_ns: int
    timestamp: float
    cpu: machine.CpuTimes | None
    memory: machine.Memory | None
    filesystem: machine.Filesystem | None
    network: dict[str, machine.Traffic] | None


def read(at_ns: int) -> Reading:
    """Take a reading now."""
    return Reading(
        at_ns, time.time(), machine.cpu(), machine.memory(), machine.filesystem(), machine.network()
    )


_readings = Readings(read)


def start() -> None:
    """Take the reading that the first CPU utilization is measured against."""
    _readings.latest()


def current() -> tuple[Reading, Reading | None]:
    """A reading at most 50 ms old, and the last one at least 0.1 s older, if there is one."""
    return _readings.compared(LEAST_NS)


def utilization(latest: Reading, earlier: Reading | None) -> machine.CpuTimes | None:
    """The share of the CPUs' time by mode between two readings, or since the machine started."""
    if latest.cpu is None:
        return None
    before = earlier.cpu if earlier is not None and earlier.cpu is not None else {}
    # the kernel lets idle and iowait run back now and then
    spent = {mode: max(seconds - before.get(mode, 0.0), 0.0) for mode, seconds in latest.cpu.items()}
    elapsed = sum(spent.values())
    return {mode: seconds / elapsed for mode, seconds in spent.items()} if elapsed else None


def busy(shares: machine.CpuTimes) -> float:
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
    """What the root directory is mounted from and how, as far as the platform tells it."""
    attributes: Attributes = {names.SYSTEM_FILESYSTEM_MOUNTPOINT: machine.ROOT}
    if (mount := machine.mount()) is not None:
        attributes[names.SYSTEM_DEVICE] = mount.device
        attributes[names.SYSTEM_FILESYSTEM_TYPE] = mount.type
        attributes[names.SYSTEM_FILESYSTEM_MODE] = mount.mode
    return attributes


_interfaces: dict[tuple[str, str], Attributes] = {}


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
    key = (interface, direction)
    if key not in _interfaces:
        _interfaces[key] = attribute_set(
            {names.NETWORK_INTERFACE_NAME: interface, names.NETWORK_IO_DIRECTION: direction}
        )
    return _interfaces[key]


SOURCES: dict[str, Source] = {
    names.SYSTEM_CPU_UTILIZATION: _cpu_utilization,
    names.SYSTEM_MEMORY_USAGE: _memory_usage,
    names.SYSTEM_MEMORY_UTILIZATION: _memory_utilization,
    names.SYSTEM_NETWORK_IO: _network_io,
    names.SYSTEM_FILESYSTEM_UTILIZATION: _filesystem_utilization,
}


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_readings.begin_lock_anew)
