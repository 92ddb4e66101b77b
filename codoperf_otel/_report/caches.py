"""Caches: look-ups, hits by tier, and the time that the hits saved."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from codoperf_otel._report.model import MetricPoint, string
from codoperf_otel._report.sums import ratio, total
from codoperf_otel._telemetry import names


@dataclass(slots=True)
class Cache:
    """The look-ups of one cache: hits, misses, and those ``coalesced``, which waited for another caller.

    A value that stood in for an error is a miss: the function ran.
    """

    name: str
    lookups: int
    hits: int
    misses: int
    coalesced: int
    hit_ratio: float | None
    hits_by_tier: dict[str, int]
    misses_by_result: dict[str, int]
    saved_seconds: float | None


def caches(points: Iterable[MetricPoint]) -> list[Cache]:
    """Every cache, the one with the most look-ups first."""
    points = list(points)
    saved = points_by(names.CACHE_NAME, names.CACHE_SAVED_TIME, points)
    lookups = points_by(names.CACHE_NAME, names.CACHE_LOOKUPS, points)
    found = [
        _cache(name, group, total(point.value for point in saved.get(name, ())))
        for name, group in lookups.items()
    ]
    return sorted(found, key=lambda cache: -cache.lookups)


def _cache(name: str, points: list[MetricPoint], saved: float | None) -> Cache:
    tiers: dict[str, int] = defaultdict(int)
    others: dict[str, int] = defaultdict(int)
    for point in points:
        if is_hit(point):
            tiers[string(point.attributes, names.CACHE_TIER) or "unknown"] += int(point.value)
        else:
            others[string(point.attributes, names.CACHE_RESULT) or "unknown"] += int(point.value)
    hits, coalesced, misses = sum(tiers.values()), others.pop(names.COALESCED, 0), sum(others.values())
    lookups = hits + coalesced + misses
    return Cache(
        name, lookups, hits, misses, coalesced, ratio(hits, lookups), dict(tiers), dict(others), saved
    )


def points_by(attribute: str, metric: str, points: Iterable[MetricPoint]) -> dict[str, list[MetricPoint]]:
    """The points of a metric by the value of an attribute; those without it are left out."""
    groups: dict[str, list[MetricPoint]] = defaultdict(list)
    for point in points:
        value = string(point.attributes, attribute)
        if point.name == metric and value is not None:
            groups[value].append(point)
    return groups


def hits_and_misses(lookups: Iterable[MetricPoint] | None) -> tuple[int | None, int | None]:
    """How many of these look-ups found their value, and how many ran the function."""
    if lookups is None:
        return None, None
    points = list(lookups)
    hits, misses = (sum(int(each.value) for each in points if is_one(each)) for is_one in (is_hit, is_miss))
    return hits, misses


def hit_ratio(lookups: Iterable[MetricPoint] | None) -> float | None:
    """The share of all these look-ups that found their value."""
    points = list(lookups or ())
    hits = sum(int(each.value) for each in points if is_hit(each))
    return ratio(hits, sum(int(each.value) for each in points))


def is_hit(lookup: MetricPoint) -> bool:
    """Whether these look-ups found their value."""
    return lookup.attributes.get(names.CACHE_RESULT) == names.HIT


def is_miss(lookup: MetricPoint) -> bool:
    """Whether these look-ups ran the function."""
    return lookup.attributes.get(names.CACHE_RESULT) not in (names.HIT, names.COALESCED)
