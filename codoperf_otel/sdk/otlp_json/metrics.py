"""Metrics as OTLP JSON objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk.metrics.export import (
    Buckets,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)

from codoperf_otel.sdk.otlp_json.common import (
    Json,
    double,
    encode_attributes,
    encode_resource,
    filled,
    hex_span_id,
    hex_trace_id,
    integer,
    integers,
    of_scope,
)


def encode_metrics(data: MetricsData) -> Json:
    """The ``MetricsData`` object of one collection."""
    return {"resourceMetrics": [_resource_metrics(group) for group in data.resource_metrics]}


def _resource_metrics(group: ResourceMetrics) -> Json:
    resource = group.resource
    groups = [_scope_metrics(scope) for scope in group.scope_metrics]
    return filled(resource=encode_resource(resource), scopeMetrics=groups, schemaUrl=resource.schema_url)


def _scope_metrics(group: ScopeMetrics) -> Json:
    return of_scope(group.scope, metrics=[_metric(metric) for metric in group.metrics])


def _metric(metric: Metric) -> Json:
    described = filled(name=metric.name, description=metric.description, unit=metric.unit)
    return {**described, **_data(metric.data)} if metric.data.data_points else described


def _data(data: Sum | Gauge | Histogram | ExponentialHistogram) -> Json:
    if isinstance(data, Gauge):
        return {"gauge": {"dataPoints": [_number_point(point, started=False) for point in data.data_points]}}
    points: list[Json]
    if isinstance(data, Sum):
        name, points = "sum", [_number_point(point) for point in data.data_points]
    elif isinstance(data, Histogram):
        name, points = "histogram", [_histogram_point(point) for point in data.data_points]
    else:
        name, points = "exponentialHistogram", [_exponential_point(point) for point in data.data_points]
    temporality = int(data.aggregation_temporality)
    return {name: filled(dataPoints=points, aggregationTemporality=temporality, **_monotonic(data))}


def _monotonic(data: object) -> Json:
    return {"isMonotonic": data.is_monotonic} if isinstance(data, Sum) else {}


def _number_point(point: NumberDataPoint, started: bool = True) -> Json:
    return {
        **filled(
            attributes=encode_attributes(point.attributes),
            startTimeUnixNano=integer(point.start_time_unix_nano) if started else "",
            timeUnixNano=integer(point.time_unix_nano),
            exemplars=_exemplars(point.exemplars),
        ),
        **_number(point.value),
    }


def _histogram_point(point: HistogramDataPoint) -> Json:
    return {
        **_distribution(point),
        "bucketCounts": integers(point.bucket_counts),
        "explicitBounds": [double(bound) for bound in point.explicit_bounds],
    }


def _exponential_point(point: ExponentialHistogramDataPoint) -> Json:
    return {
        **_distribution(point),
        **filled(
            scale=point.scale,
            zeroCount=integer(point.zero_count),
            positive=_buckets(point.positive),
            negative=_buckets(point.negative),
            flags=point.flags,
        ),
    }


def _distribution(point: HistogramDataPoint | ExponentialHistogramDataPoint) -> Json:
    """What both kinds of histogram have."""
    optional: Json = {"sum": point.sum, "min": point.min, "max": point.max}
    return {
        **filled(
            attributes=encode_attributes(point.attributes),
            startTimeUnixNano=integer(point.start_time_unix_nano),
            timeUnixNano=integer(point.time_unix_nano),
            count=integer(point.count),
            exemplars=_exemplars(point.exemplars),
        ),
        **{name: double(value) for name, value in optional.items() if value is not None},
    }


def _buckets(buckets: Buckets) -> Json | None:
    counts = integers(buckets.bucket_counts)
    return filled(offset=buckets.offset, bucketCounts=counts) if counts else None


def _exemplars(exemplars: Sequence[Any]) -> list[Json]:
    return [
        {
            **filled(
                timeUnixNano=integer(exemplar.time_unix_nano),
                filteredAttributes=encode_attributes(exemplar.filtered_attributes),
                **_exemplar_ids(exemplar),
            ),
            **_number(exemplar.value),
        }
        for exemplar in exemplars
    ]


def _exemplar_ids(exemplar: Any) -> Json:
    if exemplar.trace_id is None or exemplar.span_id is None:
        return {}
    return {"spanId": hex_span_id(exemplar.span_id), "traceId": hex_trace_id(exemplar.trace_id)}


def _number(value: float) -> Json:
    return {"asInt": str(value)} if isinstance(value, int) else {"asDouble": double(value)}
