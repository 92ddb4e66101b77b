"""Whether a lean span comes out as the SDK's own would."""

from __future__ import annotations

from copy import copy

from opentelemetry.context import Context
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import DEFAULT_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
    set_span_in_context,
)

from codoperf_otel.sdk.lean.tracer import LeanTracer

_REMOTE = SpanContext(1, 2, True, TraceFlags(TraceFlags.SAMPLED), TraceState([("vendor", "state")]))


class _Ids(IdGenerator):
    def generate_span_id(self) -> int:
        return 3

    def generate_trace_id(self) -> int:
        return 4


class _Ended(SpanProcessor):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


def tried(tracer: Tracer) -> LeanTracer | None:
    """A lean tracer over `tracer`, if that is exactly the SDK's and a span of either comes out the same."""
    if type(tracer) is not sdk.Tracer:
        return None
    stock = copy(tracer)  # with parts of its own, so that nobody hears of the trial
    stock.sampler, stock.id_generator = DEFAULT_ON, _Ids()
    return LeanTracer(tracer) if _spans(stock, stock) == _spans(LeanTracer(stock), stock) else None


def _spans(tracer: Tracer, stock: sdk.Tracer) -> list[object]:
    """All that can be seen of a root and of a child that has one of everything."""
    stock.span_processor = ended = _Ended()  # type: ignore[assignment]  # any processor does
    tracer.start_span("root", Context(), attributes={"name": 1}, start_time=1).end(2)
    span = tracer.start_span(
        "child",
        set_span_in_context(NonRecordingSpan(_REMOTE), Context()),
        SpanKind.CLIENT,
        links=[Link(_REMOTE, {"name": 2})],
        start_time=3,
    )
    span.set_attributes({"name": "value", "another": [1.5]})
    span.add_event("event", {"name": True}, 4)
    span.set_status(StatusCode.ERROR, "description")
    span.end(5)
    return [
        (end.to_json(), end.context, end.instrumentation_scope, end.dropped_attributes) for end in ended.spans
    ]
