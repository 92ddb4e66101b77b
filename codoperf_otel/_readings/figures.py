"""The single figures of this process: from the standard library and ``/proc``, else from psutil.

What the kernel counts for the whole process comes first: psutil's context switches on Linux, for one, are
those of the main thread alone.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from codoperf_otel._readings import with_psutil

if sys.platform != "win32":
    import resource

T = TypeVar("T")

PROC = "/proc/self"


class Cpu(NamedTuple):
    """CPU time of the process, in seconds."""

    user: float
    system: float


class Memory(NamedTuple):
    """Memory of the process, in bytes."""

    resident: int
    virtual: int


class Switches(NamedTuple):
    """Context switches of all threads of the process."""

    voluntary: int
    involuntary: int


class Faults(NamedTuple):
    """Page faults of the process."""

    minor: int
    major: int


class DiskIO(NamedTuple):
    """Bytes that reached or came from storage."""

    read: int
    write: int


def cpu() -> Cpu | None:
    """CPU time by mode."""
    return _first(_cpu_of_rusage, _cpu_of_times)


def _cpu_of_rusage() -> Cpu:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return Cpu(usage.ru_utime, usage.ru_stime)


def _cpu_of_times() -> Cpu:
    return Cpu(*os.times()[:2])


def cpu_count() -> int:
    """CPUs that the process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory() -> Memory | None:
    """Resident and virtual memory."""
    return _first(_memory_of_proc, _memory_of_psutil)


def _memory_of_proc() -> Memory:
    virtual, resident = _content("statm").split()[:2]
    page = os.sysconf("SC_PAGE_SIZE")
    return Memory(int(resident) * page, int(virtual) * page)


def _memory_of_psutil() -> Memory:
    info = with_psutil.process().memory_info()
    return Memory(info.rss, info.vms)


def threads() -> int | None:
    """Threads, those not started by Python included."""
    return _first(lambda: int(_stat_fields()[17]), lambda: with_psutil.process().num_threads())


def descriptors() -> int | None:
    """File descriptors in use."""
    return _first(_descriptors_of_proc, lambda: with_psutil.process().num_fds())


def _descriptors_of_proc() -> int:
    folder = f"{PROC}/fd"
    # the size of the folder is their number from Linux 6.2 on; to list it takes one more
    return os.stat(folder).st_size or len(os.listdir(folder)) - 1  # noqa: PTH116, PTH208


def switches() -> Switches | None:
    """Context switches by type."""
    return _first(_switches_of_rusage, lambda: Switches(*with_psutil.process().num_ctx_switches()))


def _switches_of_rusage() -> Switches:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return Switches(usage.ru_nvcsw, usage.ru_nivcsw)


def faults() -> Faults | None:
    """Page faults by type."""
    return _first(_faults_of_rusage)


def _faults_of_rusage() -> Faults:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return Faults(usage.ru_minflt, usage.ru_majflt)


def disk_io() -> DiskIO | None:
    """Bytes read from and written to storage."""
    return _first(_disk_io_of_proc, _disk_io_of_psutil)


def _disk_io_of_proc() -> DiskIO:
    counts = dict(line.split(": ") for line in _content("io").splitlines())
    return DiskIO(int(counts["read_bytes"]), int(counts["write_bytes"]))


def _disk_io_of_psutil() -> DiskIO:
    counts = with_psutil.process().io_counters()
    return DiskIO(counts.read_bytes, counts.write_bytes)


def uptime() -> float | None:
    """Seconds since the process started."""
    return _first(_uptime_of_proc, lambda: time.time() - with_psutil.process().create_time())


def _uptime_of_proc() -> float:
    started = int(_stat_fields()[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


def _stat_fields() -> list[str]:
    """The fields of ``stat`` after the program's name, which may hold anything: `man proc` counts from 3."""
    return _content("stat").rpartition(")")[2].split()


def _content(name: str) -> str:
    with open(f"{PROC}/{name}", encoding="ascii", errors="replace") as file:  # noqa: PTH123
        return file.read()


def _first(*ways: Callable[[], T]) -> T | None:
    """What the first way gives that works here."""
    for way in ways:
        try:
            return way()
        except Exception:  # noqa: S112  no way is sure: files, calls and psutil's figures differ by platform
            continue
    return None
