"""The cells: one per (function or operation x agent), with its totals and its ready-made attributes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from threading import RLock
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.metrics import Observation

from codoperf_otel import _forks, _telemetry
from codoperf_otel._calls.call_ledgers import CallLedger, FoldedCalls
from codoperf_otel._calls.memory_peaks import MemoryPeaks
from codoperf_otel._calls.recorder import DurationRecorder, shared
from codoperf_otel._calls.totals import Total
from codoperf_otel._telemetry import durations, names
from codoperf_otel._telemetry.attribute_sets import OVERFLOW, Attributes, attribute_set, with_agent

if TYPE_CHECKING:
    from codoperf_otel._calls.call_durations import Durations
    from codoperf_otel._statistics.ledgers import Statistics
    from codoperf_otel._telemetry.distributions import Series
    from codoperf_otel._telemetry.durations import Position

EXEMPLAR_GAP_NS = 10_000_000
_OCTAVES = 64

MANY = 64
"""Ledgers of one cell among which those of monitors that are gone are looked for."""


Totals = tuple[int, int | None]
"""Calls that ended, and their self CPU time in ns; None where none of them has such a figure."""


def _added(one: Totals, other: Totals) -> Totals:
    """The totals of both."""
    calls = one[0] + other[0]
    if one[1] is None or other[1] is None:
        return calls, one[1] if other[1] is None else other[1]
    return calls, one[1] + other[1]


class Cell:
    """The totals of one (function or operation x agent): self CPU, calls running, memory, attribute sets.

    `exemplars_due` has, per octave of the duration, the end of the last call that offered an exemplar.
    """

    __slots__ = (
        "_absorbed",
        "_absorbed_durations",
        "_children",
        "_errors",
        "_ledgers",
        "_lock",
        "_many",
        "active",
        "attributes",
        "duration_attributes",
        "exemplars_due",
        "failures",
        "peaks",
        "recorder",
    )

    def __init__(self, attributes: Attributes, duration_attributes: Attributes) -> None:
        self.attributes = attributes
        self.duration_attributes = duration_attributes
        self._errors: dict[str, Attributes] = {}
        self._ledgers: dict[tuple[str, int], CallLedger] = {}
        self.begin_anew()

    def begin_anew(self) -> None:
        """Begin anew, as a forked child does; the lock may have been held by a thread that is gone."""
        self._lock = RLock()
        self._many = MANY
        self._absorbed: Totals = (0, None)
        self._absorbed_durations: dict[str, Durations] = {}
        self.active: set[Any] = set()
        self._children = Total()
        self.failures = Total()
        self.peaks = MemoryPeaks()
        self.recorder = DurationRecorder()
        self.exemplars_due = [-EXEMPLAR_GAP_NS] * _OCTAVES
        for ledger in self._ledgers.values():
            ledger.begin_anew()

    def ledger(self, name: str, statistics: Statistics, histogram: str, span_name: str) -> CallLedger:
        """The ledger of the calls that one monitor records under one name here."""
        key = (statistics.bounded(name), statistics.number)
        known = self._ledgers.get(key)
        if known is None:
            if len(self._ledgers) >= self._many:
                self._many = 2 * self._absorb_abandoned() + MANY
            made = CallLedger(key[0], statistics, histogram, span_name)
            known = self._ledgers.setdefault(key, made)
            if known is made:
                statistics.attend(made)
        return known

    def ledgers(self) -> list[CallLedger]:
        """The ledgers here, all of them folded."""
        self._absorb_abandoned()
        return list(self._ledgers.values())

    def count_failure(self, error: BaseException) -> Attributes:
        """Count a failed call; returns the attributes of its duration."""
        self.failures.append(1)
        error_type = _telemetry.error_type(error)
        found = self._errors.get(error_type)
        if found is None:
            found = attribute_set({**self.duration_attributes, names.ERROR_TYPE: error_type})
            if found is not OVERFLOW:
                self._errors[error_type] = found
        return found

    def add_late(self, self_ns: int) -> None:
        """Add what another thread ran for a call that has ended."""
        with self._lock:
            self._absorbed = _added(self._absorbed, (0, self_ns))

    def add_child_process(self, cpu_ns: int) -> None:
        """Add what a child process took that a call has started."""
        self._children.append(cpu_ns)

    def child_process_seconds(self) -> float | None:
        """CPU time of ended child processes, in seconds; None before the first."""
        cpu_ns = self._children.value()
        return None if cpu_ns is None else cpu_ns / 1e9

    def cpu_seconds(self) -> float | None:
        """Self CPU time of all calls that ended, in seconds; None before the first that has such a figure."""
        self_ns = self.totals()[1]
        return None if self_ns is None else self_ns / 1e9

    def active_calls(self) -> int | None:
        """Calls running now; None before the first."""
        running = len(self.active)
        return running if running or self.totals()[0] else None

    def memory_peak(self) -> int | None:
        """The highest memory of the windows open now or ended within a minute, in bytes."""
        meters = (meter for call in self.active.copy() for meter in call.open_meters or ())
        return self.peaks.highest(meter.memory_peak() for meter in meters)

    def series(self, position: Position) -> Iterator[Series]:
        """What an exporter's position has of the durations here."""
        from codoperf_otel._calls.call_durations import rest, series  # here and below: for exporters only

        with self._lock:
            found = [each for ledger in list(self._ledgers.values()) for each in ledger.take(position)]
            for histogram, kept in self._absorbed_durations.items():
                found += series(histogram, kept, position)
                self._absorbed_durations[histogram] = rest(kept, position)
        return iter(found)

    def totals(self) -> Totals:
        """The calls that ended, and their self CPU time."""
        ledgers = self.ledgers()
        totals = self._absorbed
        for ledger in ledgers:
            totals = _added(totals, (ledger.folded.calls, ledger.folded.self_ns))
        return totals

    def _absorb_abandoned(self) -> int:
        """Take over the ledgers to which nobody appends any more; returns how many are left."""
        for key, ledger in list(self._ledgers.items()):
            ledger.fold()
            if ledger.is_abandoned:
                self._absorb(key)
        return len(self._ledgers)

    def _absorb(self, key: tuple[str, int]) -> None:
        """Take over the totals of a ledger to which nobody appends any more."""
        with self._lock:
            ledger = self._ledgers.pop(key, None)
            if ledger is not None:
                folded: FoldedCalls = ledger.folded
                self._absorbed = _added(self._absorbed, (folded.calls, folded.self_ns))
                if folded.durations:
                    self._absorb_durations(ledger.histogram, folded.durations)

    def _absorb_durations(self, histogram: str, durations: Durations) -> None:
        from codoperf_otel._calls.call_durations import together

        kept = self._absorbed_durations.get(histogram, {})
        self._absorbed_durations[histogram] = together(kept, durations)


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


def _observed(cell: Cell, read: Callable[[Cell], float | None]) -> Iterator[Observation]:
    """The observation of a figure, where the cell has it."""
    value = read(cell)
    if value is not None:
        yield Observation(value, cell.attributes)


class _Table:
    """All cells of one family, which its observables read."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._overflow = Cell(OVERFLOW, OVERFLOW)
        self._cells: dict[object, Cell] = {}

    def begin_anew(self) -> None:
        """Begin anew, as a forked child does: cells take their places at their first call there."""
        for cell in self.all():
            cell.begin_anew()
        self._cells = {}

    def cell(self, name: str, agent: str | None, duration_attributes: Attributes | None) -> Cell:
        attributes = with_agent({self._family.name_attribute: name}, agent)
        measured = duration_attributes or attributes
        key = (name, agent, *measured.items())
        return self._cells.get(key) or self._make(key, attributes, measured)

    def _make(self, key: object, attributes: Attributes, measured: Attributes) -> Cell:
        for name, read in self._family.observables.items():
            _telemetry.observe(name, partial(self.observations, read))
        taken = attribute_set(attributes)
        if taken is OVERFLOW:
            return self._overflow
        return self._cells.setdefault(
            key, Cell(taken, taken if measured == taken else attribute_set(measured))
        )

    def all(self) -> Iterator[Cell]:
        yield from list(self._cells.values())
        yield self._overflow

    def observations(self, read: Callable[[Cell], float | None]) -> Iterator[Observation]:
        """What a figure is in each cell that has it; durations that wait are recorded on the way."""
        for cell in self.all():
            cell.recorder.record_pending()
            shared.record_pending()
            yield from _observed(cell, read)


_tables = {family.name_attribute: _Table(family) for family in (FUNCTION, OPERATION)}


def cell(family: Family, name: str, agent: str | None, duration_attributes: Attributes | None = None) -> Cell:
    """The cell of a name and an agent; its duration has the same attributes unless others are given."""
    return _tables[family.name_attribute].cell(name, agent, duration_attributes)


def all_cells() -> Iterator[Cell]:
    """Every cell."""
    for table in _tables.values():
        yield from table.all()


def calls_in_flight() -> Iterator[Any]:
    """The calls that run now."""
    for each in all_cells():
        yield from each.active.copy()


def child_process_times() -> Iterator[Observation]:
    """The CPU time of child processes, for its observable: by function, and by operation."""
    for table in _tables.values():
        yield from table.observations(Cell.child_process_seconds)


@durations.add_source
def _series(position: Position) -> Iterable[Series]:
    for each in all_cells():
        yield from each.series(position)


@_forks.in_child
def _forked() -> None:
    for table in _tables.values():
        table.begin_anew()
