"""Resident memory of this process."""

from __future__ import annotations

import os

from codoperf_otel import _forks
from codoperf_otel._readings.kept_file import UNREADABLE, KeptFile
from codoperf_otel._telemetry.interrupts import raise_interrupt

KIB = 1024
MAX_AGE_NS = 100_000_000

_STATM = "/proc/self/statm"
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0

_statm = KeptFile(_STATM) if os.access(_STATM, os.R_OK) else None
_status = KeptFile("/proc/self/status")


def rss() -> int | None:
    """Resident memory in bytes; None where neither ``/proc`` nor psutil has it."""
    try:  # what `KeptFile.read` does, written out: each operation reads it twice
        return int(os.pread(_statm.number, 128, 0).split(b" ", 2)[1]) * _PAGE  # type: ignore[union-attr]
    except UNREADABLE as error:
        raise_interrupt(error)
        return _found_rss()


def _found_rss() -> int | None:
    try:
        if _statm is None:
            from codoperf_otel._readings import with_psutil  # not at the top: needed without ``/proc`` only

            return int(with_psutil.process().memory_info().rss)
        return sizes()[1]
    except Exception as error:
        raise_interrupt(error)
        return None


def sizes() -> tuple[int, int]:
    """Virtual and resident memory in bytes, as ``/proc`` has them. Raises one of `UNREADABLE`."""
    if _statm is None:
        raise FileNotFoundError(_STATM)
    virtual, resident = _statm.read(128, _pages)
    return virtual * _PAGE, resident * _PAGE


def _pages(statm: bytes) -> tuple[int, int]:
    virtual, resident, *_ = statm.split()
    return int(virtual), int(resident)


def high_water_mark() -> int:
    """The highest resident memory in bytes, as the kernel knows it. Raises one of `UNREADABLE`."""
    return _status.read(4096, highest_in)


def own_mark() -> int | None:
    """The same; None where it cannot be read."""
    try:
        return high_water_mark()
    except UNREADABLE as error:
        raise_interrupt(error)
        return None


def highest_in(status: bytes) -> int:
    """The high-water mark that a process's ``status`` file has. Raises IndexError where it has none."""
    return int(status.split(b"VmHWM:", 1)[1].split(None, 1)[0]) * KIB


class Recent:
    """The last reading of the resident memory in MiB, and when it is too old."""

    __slots__ = ("mb", "too_old_ns")

    def __init__(self) -> None:
        self.mb: float | None = None
        self.too_old_ns = 0

    def reread(self, now_ns: int) -> float | None:
        """Read the memory anew; `now_ns` is a reading of ``perf_counter_ns``."""
        resident = rss()
        self.mb = None if resident is None else resident / (1 << 20)
        self.too_old_ns = now_ns + MAX_AGE_NS
        return self.mb

    def mb_at(self, now_ns: int) -> float | None:
        """Resident memory in MiB, at most 100 ms old."""
        return self.mb if now_ns < self.too_old_ns else self.reread(now_ns)


recent = Recent()


@_forks.in_child
def _forked() -> None:
    recent.too_old_ns = 0
