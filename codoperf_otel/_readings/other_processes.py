"""Memory and CPU time of another process and of those below it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

from codoperf_otel._readings.kept_file import UNREADABLE
from codoperf_otel._readings.memory import highest_in
from codoperf_otel._telemetry.interrupts import raise_interrupt

MAX_PROCESSES = 32
"""Processes that are looked at, of one tree."""

T = TypeVar("T")


def high_water_mark(pid: int) -> int:
    """The highest resident memory, in bytes, that a process or one below it has had; 0 if it is not known."""
    return max(_read(each, "status", highest_in) or 0 for each in tree(pid))


def cpu_ns(pid: int) -> int:
    """The CPU time that a process and those below it have used so far, in ns; 0 where it is not known."""
    return sum(_read(each, "stat", _cpu_ns) or 0 for each in tree(pid))


def parent_of(pid: int) -> int | None:
    """The process that has started another; None where that has ended."""
    return _read(pid, "stat", _parent)


_NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


def can_be_held() -> bool:
    """Whether the system has descriptors of processes: a pid may be another's by the time it is used."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except AttributeError:  # not Linux, or a Python that was built without it
        return False
    except OSError as error:
        raise_interrupt(error)
        return error.errno in _NO_ROOM
    return True


def tree(pid: int) -> Iterator[int]:
    """The first of a process and those below it, as many as are looked at."""
    return islice(_tree(pid), MAX_PROCESSES)


def _tree(pid: int) -> Iterator[int]:
    """A process and those below it, as far as their main threads have started them."""
    found = [pid]
    for each in found:
        yield each
        found += _read(each, f"task/{each}/children", _pids) or []


def _fields(stat: bytes) -> list[bytes]:
    """What follows the name, which may have spaces and brackets."""
    return stat.rpartition(b")")[2].split()


def _parent(stat: bytes) -> int:
    return int(_fields(stat)[1])


def _cpu_ns(stat: bytes) -> int:
    """User and system time, with those of the processes that it has waited for."""
    return sum(map(int, _fields(stat)[11:15])) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def _pids(children: bytes) -> list[int]:
    return [int(pid) for pid in children.split()]


def _read(pid: int, name: str, parse: Callable[[bytes], T]) -> T | None:
    """What `parse` makes of a file of the process; None where it has ended, or has no such file."""
    try:
        with Path(f"/proc/{pid}/{name}").open("rb", buffering=0) as file:
            return parse(file.read(4096))
    except UNREADABLE as error:
        raise_interrupt(error)
        return None
