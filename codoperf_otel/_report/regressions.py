"""Operations that became slower or faster from one recording to another."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from codoperf_otel._report.model import Span
from codoperf_otel._statistics.rank_test import compare

MOST_COMPARED = 500
"""The newest calls of each operation that are compared: the test looks at every pair."""


@dataclass
class Comparison:
    """The duration of one operation, before and now.

    `verdict` is ``faster`` or ``slower`` where the Mann-Whitney test has a `p_value` below 0.05, else
    ``same``. `change` is the change of the median as a share of the one before.
    """

    operation: str
    verdict: str
    change: float | None
    p_value: float
    calls_before: int
    calls_now: int
    median_seconds_before: float
    median_seconds_now: float


Durations = Mapping[str, list[float]]
"""The durations in seconds of the calls that did not fail, by operation, in their order."""


def comparisons(before: Durations, now: Durations) -> list[Comparison]:
    """Every operation that is in both, the one that became slowest first."""
    found = [_compare(name, before[name], now[name]) for name in now if name in before]
    return sorted(found, key=lambda comparison: -(comparison.change or 0.0))


def durations(spans: Iterable[Span]) -> Durations:
    """The durations of these spans."""
    found: dict[str, list[float]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: span.start):
        if span.wall is not None and not span.failed:
            found[span.name].append(span.wall)
    return found


def _compare(operation: str, before: list[float], now: list[float]) -> Comparison:
    first, second = before[-MOST_COMPARED:], now[-MOST_COMPARED:]
    verdict, change, tested = compare(first, second)
    medians = statistics.median(first), statistics.median(second)
    return Comparison(operation, verdict, change, tested.p_value, len(before), len(now), *medians)
