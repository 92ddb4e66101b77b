"""The ledger of monitored calls: beside the statistics it has their self CPU time and their durations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import truediv
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from weakref import ref

from codoperf_otel._statistics import ledgers
from codoperf_otel._statistics.ledgers import Columns, Entry, Ledger, Statistics
from codoperf_otel._statistics.summaries import EMPTY, Summary, present
from codoperf_otel._telemetry import durations
from codoperf_otel._telemetry.attribute_sets import Attributes

if TYPE_CHECKING:
    from codoperf_otel._calls.call_durations import Durations
    from codoperf_otel._telemetry.distributions import Series
    from codoperf_otel._telemetry.durations import Position

FinishedCall = tuple[
    int, int, int | None, int | None, float | None, Attributes | None, int | None, int | None, "CallLedger"
]
"""One finished call: its end in Unix ns; its wall time, self CPU time and CPU time in ns; the process's
memory in MiB. Then, where its duration is kept here, the duration's attributes; where an exemplar is due,
the ids of its trace and its span, which are 0 without a span; and its ledger.

A plain tuple, as one is made per call, and a named one takes three times as long.
"""


class FoldedCalls(NamedTuple):
    """What was folded. It is never changed."""

    summary: Summary = EMPTY
    calls: int = 0
    self_ns: int | None = None
    durations: Durations = {}  # noqa: RUF012


class CallLedger(Ledger):
    """The calls that one monitor records under one name for one cell; `span_name` is their spans' name."""

    __slots__ = ("_bounds", "_statistics", "histogram", "span_name")

    folded: FoldedCalls

    def __init__(self, name: str, statistics: Statistics, histogram: str, span_name: str) -> None:
        self.histogram = histogram
        self.span_name = span_name
        self._bounds = durations.bounds_of(histogram)
        self._statistics = ref(statistics)
        super().__init__(name, statistics.newest)

    @property
    def is_abandoned(self) -> bool:
        """Whether its monitor is gone, so that nobody appends any more."""
        return self._statistics() is None

    def nothing(self) -> FoldedCalls:
        """What is folded before the first call."""
        return FoldedCalls()

    def with_entries(self, before: FoldedCalls, batch: list[Entry]) -> FoldedCalls:
        """What has seen `before` and this batch."""
        _, wall_ns, self_ns, cpu_ns, memory, attributes, *_ = zip(*batch, strict=True)
        measured = present(self_ns)
        return FoldedCalls(
            before.summary.with_calls(wall_ns, memory, _shares(cpu_ns, wall_ns)),
            before.calls + len(batch),
            (before.self_ns or 0) + sum(measured) if measured else before.self_ns,
            _with_durations(before.durations, batch, attributes, self._bounds)
            if durations.positions
            else before.durations,
        )

    def columns(self, batch: list[Entry]) -> Columns:
        """What the statistics need of a batch."""
        _, wall_ns, _, cpu_ns, memory, *_ = zip(*batch, strict=True)
        return wall_ns, memory, _shares(cpu_ns, wall_ns)

    @property
    def summary(self) -> Summary:
        """The statistics that were folded."""
        return self.folded.summary

    def without_summary(self, before: FoldedCalls) -> FoldedCalls:
        """What was folded, but for the statistics."""
        return before._replace(summary=EMPTY)

    def metadata(self, entry: Entry) -> dict[str, Any]:  # noqa: ARG002
        """Nothing is said of a monitored call beside its figures."""
        return {}

    def take(self, position: Position) -> Iterator[Series]:
        """What a position has of the durations; what it says is the rest is left."""
        from codoperf_otel._calls.call_durations import rest, series

        self.fold()
        while True:
            before = self.folded
            found = series(self.histogram, before.durations, position)
            if not found:
                break
            left = before._replace(durations=rest(before.durations, position))
            with ledgers.commit:
                if self.folded is before:
                    self.folded = left
                    break
        return iter(found)


def _with_durations(
    before: Durations, batch: list[Entry], attributes: Sequence[Attributes | None], bounds: Sequence[float]
) -> Durations:
    from codoperf_otel._calls.call_durations import (
        with_calls,  # not at the top: needed under `configure` only
    )

    return with_calls(before, batch, attributes, bounds)


def _shares(cpu_ns: Sequence[int | None], wall_ns: Sequence[int]) -> Sequence[float | None]:
    """CPU time / wall time, call by call."""
    if all(cpu_ns) and all(wall_ns):  # neither None nor 0
        return list(map(truediv, cast("Sequence[int]", cpu_ns), wall_ns))
    return [
        None if cpu is None or not wall else cpu / wall for cpu, wall in zip(cpu_ns, wall_ns, strict=True)
    ]
