"""Providers that keep in memory what they are given, for `codoperf_otel.testing`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Gauge, InMemoryMetricReader, Metric, Sum
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import INVALID_SPAN_CONTEXT, format_span_id, format_trace_id

from codoperf_otel import _telemetry
from codoperf_otel._captured import CapturedEvent, CapturedMetric, CapturedPoint, CapturedSpan


class Recorder:
    """A binding of its own, and what reached it; it serves the captures that are open at one time."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        nothing = Resource.get_empty()
        tracer_provider = TracerProvider(ALWAYS_ON, resource=nothing, shutdown_on_exit=False)
        tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        meter_provider = MeterProvider([self._reader], resource=nothing, shutdown_on_exit=False)
        self.captures = 0
        self.before = _telemetry.active()
        self.binding = _telemetry.bind(tracer_provider, meter_provider)

    def spans(self) -> list[CapturedSpan]:
        """All spans that ended so far."""
        ended = self._exporter.get_finished_spans()
        names = {span.context.span_id: span.name for span in ended if span.context}
        return [_as_span(span, names) for span in ended]

    def metrics(self) -> dict[str, CapturedMetric]:
        """All metrics as they are now; the observed ones count from the start of the process."""
        data = self._reader.get_metrics_data()
        return {
            metric.name: _as_metric(metric)
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


def _as_span(span: ReadableSpan, names: Mapping[int, str]) -> CapturedSpan:
    context, parent = span.context or INVALID_SPAN_CONTEXT, span.parent
    start, end = span.start_time or 0, span.end_time or 0
    return CapturedSpan(
        name=span.name,
        parent=names.get(parent.span_id) if parent else None,
        attributes=dict(span.attributes or {}),
        events=tuple(CapturedEvent(event.name, dict(event.attributes or {})) for event in span.events),
        status=span.status.status_code.name,
        status_description=span.status.description,
        kind=span.kind.name,
        start_time=start,
        duration=(end - start) / 1e9,
        trace_id=format_trace_id(context.trace_id),
        span_id=format_span_id(context.span_id),
        parent_id=format_span_id(parent.span_id) if parent else None,
    )


def _as_metric(metric: Metric) -> CapturedMetric:
    data = metric.data
    if isinstance(data, Sum):
        kind = "counter" if data.is_monotonic else "updowncounter"
    else:
        kind = "gauge" if isinstance(data, Gauge) else "histogram"
    return CapturedMetric(metric.name, kind, metric.unit or "", tuple(map(_as_point, data.data_points)))


def _as_point(point: Any) -> CapturedPoint:
    attributes = dict(point.attributes or {})
    if hasattr(point, "count"):
        return CapturedPoint(attributes, count=point.count, sum=point.sum)
    return CapturedPoint(attributes, point.value)
