"""The single figures of this process: from the standard library and ``/proc``, else from psutil.

What the kernel counts for the whole process comes first: psutil's context switches on Linux, for one, are
those of the main thread alone.
"""

from __future__ import annotations

import math
import os
import sys
import time
from functools import cache
from typing import NamedTuple

from codoperf_otel import _forks
from codoperf_otel._readings import cgroup, with_psutil
from codoperf_otel._readings.kept_file import KeptFile
from codoperf_otel._readings.memory import sizes
from codoperf_otel._readings.ways import first_that_works

if sys.platform != "win32":
    import resource

PROC = "/proc/self"
_task, _fd = KeptFile(f"{PROC}/task"), KeptFile(f"{PROC}/fd")


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
    return first_that_works(_cpu_of_rusage, _cpu_of_times)


def _cpu_of_rusage() -> Cpu:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return Cpu(round(usage.ru_utime, 6), round(usage.ru_stime, 6))  # microseconds, read as floats


def _cpu_of_times() -> Cpu:
    return Cpu(*os.times()[:2])


def cpu_count() -> int:
    """CPUs that the process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def available_cpus() -> float:
    """How many CPUs' time the process may use: its CPUs, or less where its container has a lower limit."""
    return min(cpu_count(), cgroup.cpu_limit() or math.inf)


def memory() -> Memory | None:
    """Resident and virtual memory."""
    return first_that_works(_memory_of_proc, _memory_of_psutil)


def _memory_of_proc() -> Memory:
    virtual, resident = sizes()
    return Memory(resident, virtual)


def _memory_of_psutil() -> Memory:
    info = with_psutil.process().memory_info()
    return Memory(info.rss, info.vms)


def threads() -> int | None:
    """Threads, those not started by Python included."""
    return first_that_works(_threads_of_proc, lambda: with_psutil.process().num_threads())


def _threads_of_proc() -> int:
    # a folder has two links, and this one has another for each thread
    return max(_task.status().st_nlink - 2, 0) or int(_stat_fields()[17])


def descriptors() -> int | None:
    """File descriptors in use."""
    return first_that_works(_descriptors_of_proc, lambda: with_psutil.process().num_fds())


def _descriptors_of_proc() -> int:
    # the size of the folder is their number from Linux 6.2 on; to list it takes one more
    return _fd.status().st_size or len(os.listdir(f"{PROC}/fd")) - 1  # noqa: PTH208


def switches() -> Switches | None:
    """Context switches by type."""
    return first_that_works(_switches_of_rusage, lambda: Switches(*with_psutil.process().num_ctx_switches()))


def _switches_of_rusage() -> Switches:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return Switches(usage.ru_nvcsw, usage.ru_nivcsw)


def faults() -> Faults | None:
    """Page faults by type."""
    return first_that_works(_faults_of_rusage)


def _faults_of_rusage() -> Faults:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return Faults(usage.ru_minflt, usage.ru_majflt)


def disk_io() -> DiskIO | None:
    """Bytes read from and written to storage."""
    return first_that_works(_disk_io_of_proc, _disk_io_of_psutil)


def _disk_io_of_proc() -> DiskIO:
    counts = dict(line.split(": ") for line in _content("io").splitlines())
    return DiskIO(int(counts["read_bytes"]), int(counts["write_bytes"]))


def _disk_io_of_psutil() -> DiskIO:
    counts = with_psutil.process().io_counters()
    return DiskIO(counts.read_bytes, counts.write_bytes)


def uptime() -> float | None:
    """Seconds since the process started."""
    return first_that_works(_uptime_of_proc, lambda: time.monotonic() - _started())


def _uptime_of_proc() -> float:
    started = int(_stat_fields()[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


@cache
def _started() -> float:
    """When the process started by the monotonic clock: the wall clock, which psutil goes by, may be set."""
    return time.monotonic() - (time.time() - float(with_psutil.process().create_time()))


def _stat_fields() -> list[str]:
    """The fields of ``stat`` after the program's name, which may hold anything: `man proc` counts from 3."""
    return _content("stat").rpartition(")")[2].split()


def _content(name: str) -> str:
    """A file of ``/proc``, by the system's own calls: as a text file it costs twice as much."""
    descriptor = os.open(f"{PROC}/{name}", os.O_RDONLY)
    try:
        return os.read(descriptor, 4096).decode("ascii", "replace")
    finally:
        os.close(descriptor)


@_forks.in_child
def _forked() -> None:
    _started.cache_clear()
