"""The cells: one a (function or operation x agent), with its totals and its ready-made attributes.

A call appends to a plain list, without a lock; the list is folded every `BATCH` entries and before
every read, under the cell's lock, so the totals are exact under any number of threads.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from threading import Lock
from time import perf_counter_ns
from typing import Any, NamedTuple, Protocol

from opentelemetry.context import Context
from opentelemetry.metrics import Histogram, Observation
from opentelemetry.trace import INVALID_SPAN_CONTEXT, NonRecordingSpan, set_span_in_context

from codoperf_otel import _telemetry
from codoperf_otel._telemetry import names

BATCH = 256
MAX_ATTRIBUTE_SETS = 1999
HELPED = 16
EXEMPLAR_GAP_NS = 10_000_000
RECENT_NS = 60_000_000_000

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


class Window(Protocol):
    """A span of time whose highest memory is watched."""

    def current(self) -> int | None:
        """The highest so far, in bytes."""


_NO_EXEMPLAR = set_span_in_context(NonRecordingSpan(INVALID_SPAN_CONTEXT), Context())
# not `INVALID_SPAN`, for which the SDK takes the current span

Duration = tuple[Histogram, float, Attributes, Context | None]
"""A histogram, seconds, attributes, and the Context that exemplars take their span from."""


class Cell:
    """The totals of one (function or operation x agent): self CPU, calls running, memory, attribute sets."""

    __slots__ = (
        "_cpu_ns",
        "_ended",
        "_errors",
        "_log",
        "_offered",
        "_peaks",
        "_pending",
        "_recording",
        "_used",
        "active",
        "attributes",
        "duration_attributes",
        "lock",
        "windows",
    )

    def __init__(self, attributes: Attributes, duration_attributes: Attributes) -> None:
        self.attributes = attributes
        self.duration_attributes = duration_attributes
        self._errors: dict[str, Attributes] = {}
        self.reset()

    def reset(self) -> None:
        """Begin anew, as a forked child does; the lock may have been held by a thread that is gone."""
        self.lock = Lock()
        self.active: list[None] = []
        self.windows: set[Window] = set()
        self._ended: list[tuple[int, int]] = []
        self._peaks: deque[tuple[int, int]] = deque()
        self._recording = Lock()
        self._pending: deque[Duration] = deque()
        self._log: list[int] = []
        self._cpu_ns = 0
        self._used = False
        self._offered = [-EXEMPLAR_GAP_NS] * 64

    def add_cpu(self, self_ns: int) -> None:
        """Add one call's self CPU time."""
        self._log.append(self_ns)
        if len(self._log) >= BATCH:
            self._fold()

    def record(
        self,
        histogram: Histogram,
        wall_ns: int,
        ended_ns: int,
        attributes: Attributes,
        context: Context | None,
    ) -> None:
        """Record a duration, without waiting for another thread that records one of this cell.

        The SDK's histogram has one lock, on which threads would queue; instead the one that is at it
        records what the others leave it (flat combining). What is left then, the next call records, or
        the next collection.

        An exemplar is offered each 10 ms for each octave of durations: the SDK keeps the last one only.
        """
        if context is None or ended_ns - self._offered[wall_ns.bit_length()] < EXEMPLAR_GAP_NS:
            context = _NO_EXEMPLAR
        else:
            self._offered[wall_ns.bit_length()] = ended_ns
        if not self._recording.acquire(False):
            self._pending.append((histogram, wall_ns / 1e9, attributes, context))
            return
        try:
            histogram.record(wall_ns / 1e9, attributes, context)
            if self._pending:
                self._record_pending(HELPED)
        finally:
            self._recording.release()

    def record_pending(self) -> None:
        """Record what calls have left."""
        if self._pending:
            with self._recording:
                self._record_pending(len(self._pending))

    def _record_pending(self, most: int) -> None:
        for _ in range(min(most, len(self._pending))):
            histogram, seconds, attributes, context = self._pending.popleft()
            histogram.record(seconds, attributes, context)

    def error_attributes(self, error: BaseException) -> Attributes:
        """The attributes of a failed call's duration."""
        error_type = _telemetry.error_type(error)
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

    def add_peak(self, window: Window, ended_ns: int, peak: int | None) -> None:
        """Take in the highest memory of a window that ended at `ended_ns` of the performance counter."""
        self.windows.discard(window)
        if peak is not None:
            self._ended.append((ended_ns, peak))
            if len(self._ended) >= BATCH:
                with self.lock:
                    self._fold_peaks()

    def memory_peak(self) -> int | None:
        """The highest memory of the windows open now or ended within a minute, in bytes."""
        oldest = perf_counter_ns() - RECENT_NS
        with self.lock:
            self._fold_peaks()
            while self._peaks and self._peaks[0][0] < oldest:
                self._peaks.popleft()
            ended = [peak for _, peak in self._peaks]
        running = [window.current() for window in list(self.windows)]
        return max((peak for peak in ended + running if peak is not None), default=None)

    def _fold_peaks(self) -> None:
        count = len(self._ended)
        for ended_ns, peak in self._ended[:count]:
            while self._peaks and self._peaks[-1][1] <= peak:
                self._peaks.pop()
            self._peaks.append((ended_ns, peak))
        del self._ended[:count]

    def _fold(self) -> None:
        with self.lock:
            count = len(self._log)
            self._cpu_ns += sum(self._log[:count])
            del self._log[:count]
            self._used = self._used or count > 0


class Family(NamedTuple):
    """A kind of cell: the attribute that names its members, and the observables they feed."""

    name_attribute: str
    observables: dict[str, Callable[[Cell], float | None]]


FUNCTION = Family(
    names.CODE_FUNCTION_NAME,
    {names.FUNCTION_CPU_TIME: Cell.cpu_seconds, names.FUNCTION_ACTIVE: Cell.active_calls},
)
OPERATION = Family(
    names.OPERATION_NAME,
    {
        names.OPERATION_CPU_TIME: Cell.cpu_seconds,
        names.OPERATION_ACTIVE: Cell.active_calls,
        names.OPERATION_MEMORY_PEAK: Cell.memory_peak,
    },
)


class _Table:
    """All cells of one family, which its observables read."""

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
        for name, read in self._family.observables.items():
            _telemetry.observe(name, partial(self._observations, read))
        taken = attribute_set(attributes)
        if taken is OVERFLOW:
            return self._overflow
        return self._cells.setdefault(
            key, Cell(taken, taken if measured == taken else attribute_set(measured))
        )

    def _all(self) -> Iterator[Cell]:
        yield from list(self._cells.values())
        yield self._overflow

    def _observations(self, read: Callable[[Cell], float | None]) -> Iterator[Observation]:
        for cell in self._all():
            cell.record_pending()
            value = read(cell)
            if value is not None:
                yield Observation(value, cell.attributes)

    def reset(self) -> None:
        for cell in self._all():
            cell.reset()


_tables = {family.name_attribute: _Table(family) for family in (FUNCTION, OPERATION)}


def with_agent(attributes: Attributes, agent: str | None) -> Attributes:
    """The attributes, and the agent's name where there is one."""
    return attributes if agent is None else {**attributes, names.GEN_AI_AGENT_NAME: agent}


def cell(family: Family, name: str, agent: str | None, duration_attributes: Attributes | None = None) -> Cell:
    """The cell of a name and an agent; its duration has the same attributes unless others are given."""
    return _tables[family.name_attribute].cell(name, agent, duration_attributes)


def _forked() -> None:
    global _lock
    _lock = Lock()
    for table in _tables.values():
        table.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
