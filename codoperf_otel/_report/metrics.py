"""Metrics: all series of each name, added up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from codoperf_otel._report.model import MetricPoint
from codoperf_otel._telemetry.attributes import NANOSECOND_DIGITS


@dataclass(slots=True)
class Metric:
    """All series of one metric: their values added up, and the counts of histograms."""

    name: str
    unit: str
    series: int
    total: float
    count: int | None


def metrics(points: Iterable[MetricPoint]) -> list[Metric]:
    """Every metric, by name."""
    groups: dict[str, list[MetricPoint]] = defaultdict(list)
    for point in points:
        groups[point.name].append(point)
    return [_metric(name, group) for name, group in sorted(groups.items())]


def _metric(name: str, points: list[MetricPoint]) -> Metric:
    counts = [point.count for point in points if point.count is not None]
    value = round(sum(point.value for point in points), NANOSECOND_DIGITS)
    return Metric(name, points[0].unit, len(points), value, sum(counts) if counts else None)
