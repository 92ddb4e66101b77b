"""How many tools and model calls each run of an agent has made, for the convention's histograms.

They are kept as durations are: here until an exporter asks for them, or in the SDK's histograms.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from codoperf_otel import _forks
from codoperf_otel._calls.lineages import INFERENCE_CALLS, TOOL_CALLS
from codoperf_otel._calls.recorder import NO_EXEMPLAR, shared
from codoperf_otel._calls.thread_clock import thread
from codoperf_otel._statistics import ledgers
from codoperf_otel._statistics.folds import Fold
from codoperf_otel._telemetry import durations, names
from codoperf_otel._telemetry.attribute_sets import Attributes
from codoperf_otel._telemetry.binding import in_force

if TYPE_CHECKING:
    from codoperf_otel._telemetry.distributions import Distribution, Series
    from codoperf_otel._telemetry.durations import Position

HISTOGRAMS = (names.INVOKE_AGENT_TOOL_CALLS, names.INVOKE_AGENT_INFERENCE_CALLS)

Run = tuple[int, ...]
"""When a run has ended, in Unix nanoseconds, and what it has counted for each of the histograms."""

Kept = Mapping["Position", tuple["Distribution", ...]]
"""What each position has of the runs: a distribution per histogram."""


def record_run(attributes: Attributes, ended_unix_ns: int, counted: Mapping[str, int]) -> None:
    """Record what a run has counted."""
    instruments = in_force.binding.instruments
    counts = (counted.get(TOOL_CALLS, 0), counted.get(INFERENCE_CALLS, 0))
    if instruments.keeps_durations:
        runs = _runs.get(id(attributes)) or _runs.setdefault(id(attributes), _Runs(attributes))
        runs.append((ended_unix_ns, *counts))
    if instruments.records_durations and instruments.has_provider():
        for name, count in zip(HISTOGRAMS, counts, strict=True):
            shared.record(thread.clock, instruments.histograms[name], count, attributes, NO_EXEMPLAR)


class _Runs(Fold[Run, Kept]):
    """The runs that have these attributes."""

    __slots__ = ("_attributes",)

    def __init__(self, attributes: Attributes) -> None:
        self._attributes = attributes
        super().__init__()

    def nothing(self) -> Kept:
        """Nobody has any."""
        return {}

    def with_entries(self, before: Kept, batch: list[Run]) -> Kept:
        """What each position has with these runs too."""
        from codoperf_otel._telemetry.distributions import distribution  # for exporters only

        ended, *counts = zip(*batch, strict=True)
        more = tuple(
            distribution(each, durations.bounds_of(name), since=ended[0])
            for name, each in zip(HISTOGRAMS, counts, strict=True)
        )
        return {at: _merged(before[at], more) if at in before else more for at in durations.positions}

    def take(self, position: Position) -> Iterator[Series]:
        """What a position has of the runs; what it says is the rest is left."""
        from codoperf_otel._telemetry.distributions import Series

        while position in (before := self.fold()):
            found = before[position]
            rests = tuple(rest for each in found if (rest := position.rest(each)) is not None)
            others = {at: kept for at, kept in before.items() if at is not position}
            after = {**others, position: rests} if rests else others
            with ledgers.commit:
                is_first = self._folded is before
                if is_first:
                    self._folded = after
            if is_first:
                for name, each in zip(HISTOGRAMS, found, strict=True):
                    yield Series(name, self._attributes, each)
                return


def _merged(before: tuple[Distribution, ...], more: tuple[Distribution, ...]) -> tuple[Distribution, ...]:
    return tuple(known.merged(new) for known, new in zip(before, more, strict=True))


_runs: dict[int, _Runs] = {}
"""By the identity of their attributes, which are kept with them."""


@durations.add_source
def _series(position: Position) -> Iterable[Series]:
    for runs in list(_runs.values()):
        yield from runs.take(position)


@_forks.in_child
def _forked() -> None:
    _runs.clear()
