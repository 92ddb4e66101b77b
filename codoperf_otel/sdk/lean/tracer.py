"""The lean tracer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace import SpanLimits
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import DEFAULT_ON, Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    get_current_span,
)
from opentelemetry.util.types import Attributes

from codoperf_otel._calls.context import SPAN_KEY
from codoperf_otel.sdk.lean.bounds import Bounds
from codoperf_otel.sdk.lean.span import LeanSpan

T = TypeVar("T")

_SAMPLE, _DROP = Decision.RECORD_AND_SAMPLE, Decision.DROP
_SAMPLED = 1
_RANDOM = 2 if hasattr(IdGenerator, "is_trace_id_random") else 0
_FLAGS = tuple(TraceFlags(bits) for bits in range(4))

_new = object.__new__  # the SDK's span guards its class by a slower one


class LeanTracer(trace.Tracer):
    """Starts lean spans with the sampler, the ids, the processors and the limits of an SDK tracer."""

    def __init__(self, stock: sdk.Tracer) -> None:
        self.stock = stock
        self.info = stock.instrumentation_info
        self.scope = _part(stock, InstrumentationScope)
        self.bounds = Bounds(_part(stock, SpanLimits))

    start_as_current_span = sdk.Tracer.start_as_current_span

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = (),
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> trace.Span:
        """Start a span, or one that does not record where the sampler says so."""
        stock = self.stock
        ids = stock.id_generator
        has_parent = context is None or SPAN_KEY in context
        around = get_current_span(context) if has_parent else INVALID_SPAN
        parent: SpanContext | None = None if around is INVALID_SPAN else around.get_span_context()
        if parent is not None and parent.is_valid:
            trace_id = parent.trace_id
            bits = parent.trace_flags & _RANDOM
        else:
            parent = None
            trace_id = ids.generate_trace_id()
            bits = _RANDOM if _RANDOM and ids.is_trace_id_random() else 0
        if stock.sampler is DEFAULT_ON and (parent is None or parent.trace_flags & _SAMPLED):
            # what it would say; to ask it takes a third of the span's time
            decision, kept, state = _SAMPLE, attributes, None if parent is None else parent.trace_state
        else:
            answer = stock.sampler.should_sample(context, trace_id, name, kind, attributes, links or ())
            decision, kept, state = answer.decision, answer.attributes, answer.trace_state
        if decision is _SAMPLE:
            bits |= _SAMPLED
        own = SpanContext(trace_id, ids.generate_span_id(), False, _FLAGS[bits], state)
        if decision is _DROP:
            return NonRecordingSpan(own)
        span = _new(LeanSpan)
        span.fill(
            self, name, own, parent, kind, kept, links or (), start_time,
            record_exception, set_status_on_exception,
        )  # fmt: skip
        stock.span_processor.on_start(span, parent_context=context)
        return span


def _part(stock: sdk.Tracer, kind: type[T]) -> T:
    """The one object of that type which an SDK tracer holds."""
    (part,) = (held for held in vars(stock).values() if isinstance(held, kind))
    return part
