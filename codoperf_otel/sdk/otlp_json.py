"""Spans and metrics as OTLP JSON objects.

The result is what the OTLP exporters' encoder and protobuf's JSON printer give together, with ids as hex.
It is made directly, because the way over protobuf takes four times as long a span, and its import alone
takes as long as a short program.
"""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

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
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, Status

Json = dict[str, Any]

_HAS_IS_REMOTE = 0x100
_IS_REMOTE = 0x200


def encode_spans(spans: Iterable[ReadableSpan]) -> Json:
    """The ``TracesData`` object of these spans."""
    groups: dict[int, tuple[Resource, dict[InstrumentationScope | None, list[Json]]]] = {}
    for span in spans:
        # a resource's hash is that of its JSON text, made anew each time: its identity will do
        _, scopes = groups.setdefault(id(span.resource), (span.resource, {}))
        scopes.setdefault(span.instrumentation_scope, []).append(_span(span))
    return {"resourceSpans": [_resource_spans(resource, scopes) for resource, scopes in groups.values()]}


def encode_metrics(data: MetricsData) -> Json:
    """The ``MetricsData`` object of one collection."""
    return {"resourceMetrics": [_resource_metrics(group) for group in data.resource_metrics]}


def _filled(**fields: Any) -> Json:
    """Protobuf's JSON leaves out what is empty or 0; a message that is there stays, even an empty one."""
    return {name: value for name, value in fields.items() if value or type(value) is dict}


def _resource_spans(resource: Resource, scopes: Mapping[InstrumentationScope | None, list[Json]]) -> Json:
    groups = [_of_scope(scope, spans=spans) for scope, spans in scopes.items()]
    return _filled(resource=_resource(resource), scopeSpans=groups, schemaUrl=resource.schema_url)


def _resource_metrics(group: ResourceMetrics) -> Json:
    resource = group.resource
    groups = [_scope_metrics(scope) for scope in group.scope_metrics]
    return _filled(resource=_resource(resource), scopeMetrics=groups, schemaUrl=resource.schema_url)


def _scope_metrics(group: ScopeMetrics) -> Json:
    return _of_scope(group.scope, metrics=[_metric(metric) for metric in group.metrics])


def _resource(resource: Resource) -> Json:
    return _filled(attributes=_attributes(resource.attributes))


def _of_scope(scope: InstrumentationScope | None, **items: list[Json]) -> Json:
    if scope is None:
        return _filled(scope={}, **items)
    described = _filled(name=scope.name, version=scope.version, attributes=_attributes(scope.attributes))
    return _filled(scope=described, **items, schemaUrl=scope.schema_url)


def _span(span: ReadableSpan) -> Json:
    context = cast("SpanContext", span.get_span_context())
    return _filled(
        traceId=_trace_id(context.trace_id),
        spanId=_span_id(context.span_id),
        traceState=",".join(f"{key}={value}" for key, value in context.trace_state.items()),
        parentSpanId=_span_id(span.parent.span_id) if span.parent else "",
        name=span.name,
        kind=span.kind.value + 1,
        startTimeUnixNano=_integer(span.start_time),
        endTimeUnixNano=_integer(span.end_time),
        attributes=_attributes(span.attributes),
        droppedAttributesCount=span.dropped_attributes,
        events=[_event(event) for event in span.events],
        droppedEventsCount=span.dropped_events,
        links=[_link(link) for link in span.links],
        droppedLinksCount=span.dropped_links,
        status=_status(span.status),
        flags=_flags(span.parent),
    )


def _event(event: Event) -> Json:
    return _filled(
        timeUnixNano=_integer(event.timestamp),
        name=event.name,
        attributes=_attributes(event.attributes),
        droppedAttributesCount=event.dropped_attributes,
    )


def _link(link: Link) -> Json:
    return _filled(
        traceId=_trace_id(link.context.trace_id),
        spanId=_span_id(link.context.span_id),
        attributes=_attributes(link.attributes),
        droppedAttributesCount=link.dropped_attributes,
        flags=_flags(link.context),
    )


def _status(status: Status) -> Json:
    return _filled(message=status.description, code=status.status_code.value)


def _flags(context: SpanContext | None) -> int:
    return _HAS_IS_REMOTE | _IS_REMOTE if context and context.is_remote else _HAS_IS_REMOTE


def _metric(metric: Metric) -> Json:
    described = _filled(name=metric.name, description=metric.description, unit=metric.unit)
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
    return {name: _filled(dataPoints=points, aggregationTemporality=temporality, **_monotonic(data))}


def _monotonic(data: object) -> Json:
    return {"isMonotonic": data.is_monotonic} if isinstance(data, Sum) else {}


def _number_point(point: NumberDataPoint, started: bool = True) -> Json:
    return {
        **_filled(
            attributes=_attributes(point.attributes),
            startTimeUnixNano=_integer(point.start_time_unix_nano) if started else "",
            timeUnixNano=_integer(point.time_unix_nano),
            exemplars=_exemplars(point.exemplars),
        ),
        **_number(point.value),
    }


def _histogram_point(point: HistogramDataPoint) -> Json:
    return {
        **_distribution(point),
        "bucketCounts": _integers(point.bucket_counts),
        "explicitBounds": [_double(bound) for bound in point.explicit_bounds],
    }


def _exponential_point(point: ExponentialHistogramDataPoint) -> Json:
    return {
        **_distribution(point),
        **_filled(
            scale=point.scale,
            zeroCount=_integer(point.zero_count),
            positive=_buckets(point.positive),
            negative=_buckets(point.negative),
            flags=point.flags,
        ),
    }


def _distribution(point: HistogramDataPoint | ExponentialHistogramDataPoint) -> Json:
    """What both kinds of histogram have."""
    optional: Json = {"sum": point.sum, "min": point.min, "max": point.max}
    return {
        **_filled(
            attributes=_attributes(point.attributes),
            startTimeUnixNano=_integer(point.start_time_unix_nano),
            timeUnixNano=_integer(point.time_unix_nano),
            count=_integer(point.count),
            exemplars=_exemplars(point.exemplars),
        ),
        **{name: _double(value) for name, value in optional.items() if value is not None},
    }


def _buckets(buckets: Buckets) -> Json | None:
    counts = _integers(buckets.bucket_counts)
    return _filled(offset=buckets.offset, bucketCounts=counts) if counts else None


def _exemplars(exemplars: Sequence[Any]) -> list[Json]:
    return [
        {
            **_filled(
                timeUnixNano=_integer(exemplar.time_unix_nano),
                filteredAttributes=_attributes(exemplar.filtered_attributes),
                **_exemplar_ids(exemplar),
            ),
            **_number(exemplar.value),
        }
        for exemplar in exemplars
    ]


def _exemplar_ids(exemplar: Any) -> Json:
    if exemplar.trace_id is None or exemplar.span_id is None:
        return {}
    return {"spanId": _span_id(exemplar.span_id), "traceId": _trace_id(exemplar.trace_id)}


def _number(value: float) -> Json:
    return {"asInt": str(value)} if isinstance(value, int) else {"asDouble": _double(value)}


def _attributes(attributes: Mapping[str, Any] | None) -> list[Json]:
    return [{"key": key, "value": _value(value)} for key, value in (attributes or {}).items()]


def _value(value: Any) -> Json:
    """An ``AnyValue``: bool before int, because it is one."""
    match value:
        case None:
            return {}
        case str():
            return {"stringValue": value}
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": _double(value)}
        case bytes():
            return {"bytesValue": b64encode(value).decode()}
        case Mapping():
            return {"kvlistValue": _filled(values=_attributes(value))}
        case _:
            return {"arrayValue": _filled(values=[_value(item) for item in value])}


def _double(value: float) -> float | str:
    """JSON has no number for these three."""
    if math.isfinite(value):
        return float(value)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _integer(value: int | None) -> str:
    """64-bit integers are texts in OTLP JSON."""
    return str(value) if value else ""


def _integers(values: Iterable[int]) -> list[str]:
    return [str(value) for value in values]


def _trace_id(number: int) -> str:
    return f"{number:032x}"


def _span_id(number: int) -> str:
    return f"{number:016x}"
