"""Log records as OTLP JSON objects."""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry.sdk._logs import ReadableLogRecord

from codoperf_otel.sdk.otlp_json.common import (
    Json,
    encode_attributes,
    encode_value,
    filled,
    grouped,
    hex_span_id,
    hex_trace_id,
    integer,
)


def encode_logs(records: Iterable[ReadableLogRecord]) -> Json:
    """The ``LogsData`` object of these records."""
    return {"resourceLogs": grouped(records, _log, "scopeLogs", "logRecords")}


def _log(readable: ReadableLogRecord) -> Json:
    record = readable.log_record
    return filled(
        timeUnixNano=integer(record.timestamp),
        severityNumber=record.severity_number.value if record.severity_number else 0,
        severityText=record.severity_text,
        body=encode_value(record.body),
        attributes=encode_attributes(record.attributes),
        droppedAttributesCount=readable.dropped_attributes,
        flags=int(record.trace_flags or 0),
        traceId=hex_trace_id(record.trace_id) if record.trace_id else "",
        spanId=hex_span_id(record.span_id) if record.span_id else "",
        observedTimeUnixNano=integer(record.observed_timestamp),
        eventName=record.event_name,
    )
