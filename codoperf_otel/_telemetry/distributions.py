"""Distributions of durations, or of counts, over buckets, as histograms have them.

Loaded only where durations are kept.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from operator import sub
from typing import Any, NamedTuple

from codoperf_otel._telemetry.attribute_sets import Attributes


class Exemplar(NamedTuple):
    """One duration in s, its end in Unix nanoseconds, and its trace and span: 0 where there is none."""

    seconds: float
    ended_unix_ns: int
    trace_id: int
    span_id: int


Exemplars = tuple[Exemplar | None, ...]


class Distribution(NamedTuple):
    """Many durations in s, or counts. It is never changed: what has seen more of them is another one.

    `since` is when the first ended, in Unix nanoseconds; `number` is how many there are, `total` their sum.
    `buckets` has the number in each bucket, `exemplars` at most one per bucket.
    """

    since: int
    number: int
    total: float
    lowest: float
    highest: float
    buckets: tuple[int, ...]
    exemplars: Exemplars

    def merged(self, other: Distribution) -> Distribution:
        """The distribution of both, with the later exemplars."""
        return Distribution(
            min(self.since, other.since),
            self.number + other.number,
            self.total + other.total,
            min(self.lowest, other.lowest),
            max(self.highest, other.highest),
            tuple(map(sum, zip(self.buckets, other.buckets, strict=True))),
            tuple(map(_later, self.exemplars, other.exemplars)),
        )

    def without_exemplars(self) -> Distribution:
        """The same durations; an exemplar is sent once."""
        return self._replace(exemplars=(None,) * len(self.exemplars))


def _later(one: Exemplar | None, other: Exemplar | None) -> Exemplar | None:
    if one is None or (other is not None and other.ended_unix_ns >= one.ended_unix_ns):
        return other
    return one


def distribution(
    values: Sequence[float], bounds: Sequence[float], exemplars: Iterable[Exemplar] = (), since: int = 0
) -> Distribution:
    """The distribution of these values over buckets with these upper bounds, each inclusive.

    >>> distribution([0.5, 1.0, 3.0], [1.0, 2.0]).buckets
    (2, 0, 1)
    """
    ordered = sorted(values)
    below = [bisect_right(ordered, bound) for bound in bounds]
    count = len(ordered)
    kept: list[Exemplar | None] = [None] * (len(below) + 1)
    for exemplar in exemplars:
        kept[bisect_left(bounds, exemplar.seconds)] = exemplar
    buckets = tuple(map(sub, [*below, count], [0, *below]))
    return Distribution(since, count, sum(values), ordered[0], ordered[-1], buckets, tuple(kept))


class Series(NamedTuple):
    """What a position has of one histogram and attribute set."""

    histogram: str
    attributes: Attributes
    distribution: Distribution

    @property
    def key(self) -> tuple[str, frozenset[tuple[str, Any]]]:
        """Its histogram and attribute set, which tell it from others."""
        return self.histogram, frozenset(self.attributes.items())
