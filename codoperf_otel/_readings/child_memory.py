"""The highest memory of another process and of those below it."""

from __future__ import annotations

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
    return max(_read(each, "status", highest_in) or 0 for each in islice(_tree(pid), MAX_PROCESSES))


def _tree(pid: int) -> Iterator[int]:
    """A process and those below it, as far as their main threads have started them."""
    found = [pid]
    for each in found:
        yield each
        found += _read(each, f"task/{each}/children", _pids) or []


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
