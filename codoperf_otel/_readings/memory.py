"""Resident memory of this process."""

from __future__ import annotations

import os

from codoperf_otel._readings import with_psutil
from codoperf_otel._readings.kept_file import KeptFile

MAX_AGE_NS = 100_000_000

_STATM = "/proc/self/statm"
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
_NEVER = -MAX_AGE_NS

_statm = KeptFile(_STATM) if os.access(_STATM, os.R_OK) else None
_recent: tuple[int, float | None] = (_NEVER, None)


def rss() -> int | None:
    """Resident memory in bytes; None where neither ``/proc`` nor psutil gives it."""
    try:
        if _statm is None:
            return int(with_psutil.process().memory_info().rss)
        return _statm.read(128, _resident)
    except Exception:
        return None


def _resident(statm: bytes) -> int:
    return int(statm.split(b" ", 2)[1]) * _PAGE


def recent_rss_mb(now_ns: int) -> float | None:
    """Resident memory in MiB, at most 100 ms old by the ``perf_counter_ns`` clock that is handed in."""
    read_at, reading = _recent
    return reading if 0 <= now_ns - read_at < MAX_AGE_NS else _reread(now_ns)


def _reread(now_ns: int) -> float | None:
    global _recent
    resident = rss()
    reading = None if resident is None else resident / (1 << 20)
    _recent = (now_ns, reading)
    return reading


def _forked() -> None:
    global _recent
    _recent = (_NEVER, None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
