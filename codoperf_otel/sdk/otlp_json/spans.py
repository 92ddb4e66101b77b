"""Spans as OTLP JSON objects."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, SpanContext, Status

from codoperf_otel.sdk.otlp_json.common import (
    Json,
    encode_attributes,
    filled,
    grouped,
    hex_span_id,
    hex_trace_id,
    integer,
)

_HAS_IS_REMOTE = 0x100
_IS_REMOTE = 0x200


def encode_spans(spans: Iterable[ReadableSpan]) -> Json:
    """The ``TracesData`` object of these spans."""
    return {"resourceSpans": grouped(spans, _span, "scopeSpans", "spans")}


def _span(span: ReadableSpan) -> Json:
    context = cast("SpanContext", span.get_span_context())
    return filled(
        traceId=hex_trace_id(context.trace_id),
        spanId=hex_span_id(context.span_id),
        traceState=",".join(f"{key}={value}" for key, value in context.trace_state.items()),
        parentSpanId=hex_span_id(span.parent.span_id) if span.parent else "",
        name=span.name,
        kind=span.kind.value + 1,
        startTimeUnixNano=integer(span.start_time),
        endTimeUnixNano=integer(span.end_time),
        attributes=encode_attributes(span.attributes),
        droppedAttributesCount=span.dropped_attributes,
        events=[_event(event) for event in span.events],
        droppedEventsCount=span.dropped_events,
        links=[_link(link) for link in span.links],
        droppedLinksCount=span.dropped_links,
        status=_status(span.status),
        flags=_flags(span.parent),
    )


def _event(event: Event) -> Json:
    return filled(
        timeUnixNano=integer(event.timestamp),
        name=event.name,
        attributes=encode_attributes(event.attributes),
        droppedAttributesCount=event.dropped_attributes,
    )


def _link(link: Link) -> Json:
    return filled(
        traceId=hex_trace_id(link.context.trace_id),
        spanId=hex_span_id(link.context.span_id),
        attributes=encode_attributes(link.attributes),
        droppedAttributesCount=link.dropped_attributes,
        flags=_flags(link.context),
    )


def _status(status: Status) -> Json:
    return filled(message=status.description, code=status.status_code.value)


def _flags(context: SpanContext | None) -> int:
    return _HAS_IS_REMOTE | _IS_REMOTE if context and context.is_remote else _HAS_IS_REMOTE
