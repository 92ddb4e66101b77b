"""The cells: one a (function or operation x agent), with its totals and its ready-made attributes.

A call appends to a plain list, without a lock; the list is folded every `BATCH` entries and before
every read, under the cell's lock, so the totals are exact under any number of threads.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from threading import Lock
from typing import Any, NamedTuple

from opentelemetry.metrics import Observation

from codoperf_otel import _telemetry
from codoperf_otel._telemetry import names

BATCH = 256
MAX_ATTRIBUTE_SETS = 1999

Attributes = dict[str, Any]

OVERFLOW: Attributes = {names.METRIC_OVERFLOW: True}

_lock = Lock()
_places = MAX_ATTRIBUTE_SETS


def attribute_set(attributes: Attributes) -> Attributes:
    """Take one of the places for attribute sets: gives `attributes`, or the overflow set if none is left."""
    global _places
    with _lock:
        if _places == 0:
            return OVERFLOW
        _places -= 1
        return attributes


class Family(NamedTuple):
    """A kind of cell: the attribute that names its members, and the two observables it feeds."""

    name_attribute: str
    cpu_time: str
    active: str


FUNCTION = Family(names.CODE_FUNCTION_NAME, names.FUNCTION_CPU_TIME, names.FUNCTION_ACTIVE)
OPERATION = Family(names.OPERATION_NAME, names.OPERATION_CPU_TIME, names.OPERATION_ACTIVE)


class Cell:
    """The totals of one (function or operation x agent): self CPU, calls running, attribute sets."""

    __slots__ = (
        "_cpu_ns", "_errors", "_log", "_used", "active", "attributes", "duration_attributes", "lock",
    )  # fmt: skip

    def __init__(self, attributes: Attributes, duration_attributes: Attributes) -> None:
        self.attributes = attributes
        self.duration_attributes = duration_attributes
        self._errors: dict[str, Attributes] = {}
        self.reset()

    def reset(self) -> None:
        """Begin anew, as a forked child does; the lock may have been held by a thread that is gone."""
        self.lock = Lock()
        self.active: list[None] = []
        self._log: list[int] = []
        self._cpu_ns = 0
        self._used = False

    def add_cpu(self, self_ns: int) -> None:
        """Add one call's self CPU time."""
        self._log.append(self_ns)
        if len(self._log) >= BATCH:
            self._fold()

    def error_attributes(self, error_type: str) -> Attributes:
        """The attributes of a failed call's duration."""
        found = self._errors.get(error_type)
        if found is None:
            found = attribute_set({**self.duration_attributes, names.ERROR_TYPE: error_type})
            if found is not OVERFLOW:
                self._errors[error_type] = found
        return found

    def cpu_seconds(self) -> float | None:
        """Self CPU time of all calls that ended, in seconds; None before the first."""
        self._fold()
        return self._cpu_ns / 1e9 if self._used else None

    def active_calls(self) -> int | None:
        """Calls running now; None before the first."""
        return len(self.active) if self._used or self.active else None

    def _fold(self) -> None:
        with self.lock:
            count = len(self._log)
            self._cpu_ns += sum(self._log[:count])
            del self._log[:count]
            self._used = self._used or count > 0


class _Table:
    """All cells of one family, which its two observables read."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._cells: dict[object, Cell] = {}
        self._overflow = Cell(OVERFLOW, OVERFLOW)

    def cell(self, name: str, agent: str | None, duration_attributes: Attributes | None) -> Cell:
        attributes = with_agent({self._family.name_attribute: name}, agent)
        measured = duration_attributes or attributes
        key = (name, agent, *measured.items())
        return self._cells.get(key) or self._make(key, attributes, measured)

    def _make(self, key: object, attributes: Attributes, measured: Attributes) -> Cell:
        _telemetry.observe(self._family.cpu_time, self._cpu_time)
        _telemetry.observe(self._family.active, self._active)
        taken = attribute_set(attributes)
        if taken is OVERFLOW:
            return self._overflow
        return self._cells.setdefault(
            key, Cell(taken, taken if measured == taken else attribute_set(measured))
        )

    def _all(self) -> Iterator[Cell]:
        yield from list(self._cells.values())
        yield self._overflow

    def _cpu_time(self) -> Iterator[Observation]:
        for cell in self._all():
            seconds = cell.cpu_seconds()
            if seconds is not None:
                yield Observation(seconds, cell.attributes)

    def _active(self) -> Iterator[Observation]:
        for cell in self._all():
            calls = cell.active_calls()
            if calls is not None:
                yield Observation(calls, cell.attributes)

    def reset(self) -> None:
        for cell in self._all():
            cell.reset()


_tables = {family: _Table(family) for family in (FUNCTION, OPERATION)}


def with_agent(attributes: Attributes, agent: str | None) -> Attributes:
    """The attributes, and the agent's name where there is one."""
    return attributes if agent is None else {**attributes, names.GEN_AI_AGENT_NAME: agent}


def cell(family: Family, name: str, agent: str | None, duration_attributes: Attributes | None = None) -> Cell:
    """The cell of a name and an agent; its duration has the same attributes unless others are given."""
    return _tables[family].cell(name, agent, duration_attributes)


def _forked() -> None:
    global _lock
    _lock = Lock()
    for table in _tables.values():
        table.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
