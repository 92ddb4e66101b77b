"""The single figures of the whole machine: from ``/proc``, else from psutil.

In a container these are the figures of the host; limits of the container are not among them.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from codoperf_otel._readings.ways import first_that_works

PROC = "/proc"
ROOT = os.path.abspath(os.sep)  # noqa: PTH100  pathlib costs a tenth of this package's import
_KIB = 1024

CpuTimes = dict[str, float]
"""CPU time of all CPUs since the machine started, in seconds by mode."""

# the modes in the order of the first line of /proc/stat; the two kinds of interrupts are one mode
_MODES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")


class Memory(NamedTuple):
    """Physical memory of the machine, in bytes: all of it, and how much is in each state."""

    total: int
    states: dict[str, int]

    @property
    def used(self) -> int:
        """What is in use and could not be given to another program."""
        return self.states["used"]


class Filesystem(NamedTuple):
    """The file system of the root directory, in bytes; ``free`` is what a user may still take."""

    total: int
    used: int
    free: int

    def states(self) -> dict[str, int]:
        """All of it by state."""
        return {"used": self.used, "free": self.free, "reserved": self.total - self.used - self.free}


class Traffic(NamedTuple):
    """Bytes that a network interface received and transmitted."""

    receive: int
    transmit: int


class Mount(NamedTuple):
    """What the root directory is mounted from, and how."""

    device: str
    type: str
    mode: str


def cpu() -> CpuTimes | None:
    """CPU time by mode."""
    return first_that_works(_cpu_of_proc, _cpu_of_psutil)


def _cpu_of_proc() -> CpuTimes:
    name, *ticks = _content("stat").split("\n", 1)[0].split()
    if name != "cpu":
        raise ValueError(name)
    second = os.sysconf("SC_CLK_TCK")
    return _by_mode({mode: int(number) / second for mode, number in zip(_MODES, ticks, strict=False)})


def _cpu_of_psutil() -> CpuTimes:
    import psutil

    times = psutil.cpu_times()
    return _by_mode({mode: getattr(times, mode) for mode in _MODES if hasattr(times, mode)})


def _by_mode(times: CpuTimes) -> CpuTimes:
    interrupts = [times.pop(kind) for kind in ("irq", "softirq") if kind in times]
    return times | {"interrupt": sum(interrupts)} if interrupts else times


def memory() -> Memory | None:
    """Physical memory by state."""
    return first_that_works(_memory_of_proc, _memory_of_psutil)


def _memory_of_proc() -> Memory:
    lines = (line.split(":") for line in _content("meminfo").splitlines())
    sizes = {name: int(size.split()[0]) * _KIB for name, size in lines}
    total = sizes["MemTotal"]
    states = {
        "used": total - sizes["MemAvailable"],
        "free": sizes["MemFree"],
        "buffers": sizes["Buffers"],
        "cached": sizes["Cached"] + sizes["SReclaimable"],
    }
    return Memory(total, states)


def _memory_of_psutil() -> Memory:
    import psutil

    known = psutil.virtual_memory()
    states = {name: getattr(known, name) for name in ("free", "buffers", "cached") if hasattr(known, name)}
    return Memory(known.total, {"used": known.total - known.available, **states})


def filesystem() -> Filesystem | None:
    """The file system of the root directory; on Windows that of the current drive."""
    return first_that_works(_filesystem)


def _filesystem() -> Filesystem:
    import shutil

    usage = shutil.disk_usage(ROOT)
    if not usage.total:
        raise ValueError(usage)
    return Filesystem(usage.total, usage.used, usage.free)


def network() -> dict[str, Traffic] | None:
    """Bytes by network interface."""
    return first_that_works(_network_of_proc, _network_of_psutil)


def _network_of_proc() -> dict[str, Traffic]:
    found = {}
    for line in _content("net/dev").splitlines()[2:]:
        interface, _, numbers = line.rpartition(":")
        counts = numbers.split()
        found[interface.strip()] = Traffic(int(counts[0]), int(counts[8]))
    return found


def _network_of_psutil() -> dict[str, Traffic]:
    import psutil

    counters = psutil.net_io_counters(pernic=True)
    return {name: Traffic(count.bytes_recv, count.bytes_sent) for name, count in counters.items()}


def mount() -> Mount | None:
    """How the root directory is mounted."""
    return first_that_works(_mount_of_proc, _mount_of_psutil)


def _mount_of_proc() -> Mount:
    mounts = [line.split() for line in _content("self/mounts").splitlines()]
    device, _, kind, options, *_ = [fields for fields in mounts if fields[1] == ROOT][-1]
    return Mount(device, kind, options.split(",")[0])


def _mount_of_psutil() -> Mount:
    import psutil

    found = [partition for partition in psutil.disk_partitions(all=True) if partition.mountpoint == ROOT][-1]
    return Mount(found.device, found.fstype, found.opts.split(",")[0])


def _content(name: str) -> str:
    with open(f"{PROC}/{name}", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
        return file.read()
