"""The imports of a program as spans."""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry import trace
from opentelemetry.context import Context

from codoperf_otel import _telemetry
from codoperf_otel._imports.costs import Import
from codoperf_otel._telemetry import names
from codoperf_otel._telemetry.attribute_sets import Attributes


def send(imports: Iterable[Import], threshold: float, context: Context | None = None) -> None:
    """Make a span of each import that took *threshold* seconds or more, with those inside it as children."""
    tracer = _telemetry.active().tracer
    for one in imports:
        if one.duration_ns < threshold * 1e9:
            continue
        span = tracer.start_span(
            f"{names.IMPORT} {one.name}", context, attributes=_attributes(one), start_time=one.start_unix_ns
        )
        if one.error is not None:
            span.set_status(trace.StatusCode.ERROR)
        send(one.inner, threshold, trace.set_span_in_context(span))
        span.end(one.start_unix_ns + one.duration_ns)


def _attributes(one: Import) -> Attributes:
    attributes: Attributes = {
        names.MODULE_NAME: one.name,
        names.IMPORT_SELF_TIME: one.self_ns / 1e9,
        names.CPU_TIME: one.cpu_ns / 1e9,
    }
    measured = {
        names.PROCESS_MEMORY_DELTA: one.memory_bytes,
        names.CODE_FILE_PATH: one.asked_file,
        names.CODE_LINE_NUMBER: one.asked_line,
        names.ERROR_TYPE: one.error,
    }
    return attributes | {name: value for name, value in measured.items() if value is not None}
