"""Durations that are kept in this package, as the data of the SDK's own histograms."""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from codoperf_otel.__about__ import __version__
from codoperf_otel._telemetry import durations, names
from codoperf_otel._telemetry.distributions import Exemplar as Kept
from codoperf_otel._telemetry.distributions import Series
from codoperf_otel._telemetry.instruments import INSTRUMENTS

SCOPE = InstrumentationScope(names.SCOPE, __version__, names.SCHEMA_URL)


def metrics(
    found: Iterable[tuple[Series, int]], temporality: AggregationTemporality, ended: int
) -> list[Metric]:
    """A metric per histogram, with a point per series. Each series comes with its start time."""
    points: dict[str, list[HistogramDataPoint]] = {}
    for series, started in found:
        points.setdefault(series.histogram, []).append(_point(series, started, ended))
    return [
        Metric(name, INSTRUMENTS[name].description, INSTRUMENTS[name].unit, Histogram(of_name, temporality))
        for name, of_name in points.items()
    ]


def alone(found: list[Metric], resource: Resource) -> MetricsData:
    """Metrics of this package's scope, and nothing else."""
    return MetricsData([ResourceMetrics(resource, [of_scope(found)], resource.schema_url)])


def of_scope(found: list[Metric]) -> ScopeMetrics:
    """Metrics under this package's scope."""
    return ScopeMetrics(SCOPE, found, names.SCHEMA_URL)


def _point(series: Series, started: int, ended: int) -> HistogramDataPoint:
    seen = series.distribution
    return HistogramDataPoint(
        attributes=series.attributes,
        start_time_unix_nano=min(started, ended),
        time_unix_nano=ended,
        count=seen.number,
        sum=seen.total,
        bucket_counts=seen.buckets,
        explicit_bounds=durations.bounds_of(series.histogram),
        min=seen.lowest,
        max=seen.highest,
        exemplars=[_exemplar(exemplar) for exemplar in seen.exemplars if exemplar is not None],
    )


def _exemplar(exemplar: Kept) -> Exemplar:
    """An exemplar, which has no ids without a span. No attributes: none of the point's are filtered out."""
    return Exemplar(
        {}, exemplar.seconds, exemplar.ended_unix_ns, exemplar.span_id or None, exemplar.trace_id or None
    )
