"""When points start. For deltas, the releases of the SDK differ in this."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from codoperf_otel._telemetry.distributions import Series

StartRule = Callable[[Series], Hashable]
"""Returns what must have been collected before for a series's delta to start at the previous collection."""


def by_attribute_set(series: Series) -> Hashable:
    """The first delta of an attribute set starts at its first measurement."""
    return series.key


def by_histogram(series: Series) -> Hashable:
    """Once a histogram was collected, all its deltas start at the previous collection."""
    return series.histogram


class Starts:
    """The start times of one exporter's points."""

    def __init__(self, rule: StartRule, *, deltas: bool) -> None:
        self._rule = rule
        self._deltas = deltas
        self._known: set[Hashable] = set()
        self._previous = 0

    def of_collection(self, found: list[Series], ended: int) -> list[tuple[Series, int]]:
        """The series of a collection, each with its start."""
        started = [(series, self._start(series)) for series in found]
        self._known.update(map(self._rule, found))
        self._previous = ended
        return started

    def _start(self, series: Series) -> int:
        is_later = self._deltas and self._rule(series) in self._known
        return self._previous if is_later else series.distribution.since
