"""The start of a call's span, by the tracer in force."""

from __future__ import annotations

import sys
from operator import length_hint

from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind

from codoperf_otel._calls.foreign_code import failed
from codoperf_otel._calls.sites import Site
from codoperf_otel._calls.thread_clock import ThreadClock
from codoperf_otel._telemetry.attribute_sets import Attributes
from codoperf_otel._telemetry.binding import in_force

_INTERNAL = SpanKind.INTERNAL

_left = iter(range(sys.maxsize))  # counted without a lock


def spans_started() -> int:
    """How many calls had a span that records."""
    return sys.maxsize - length_hint(_left)


def start_span(
    site: Site, clock: ThreadClock, around: Context, attributes: Attributes, started_unix_ns: int
) -> Span:
    """Start the span of a call; `INVALID_SPAN` if the sampler or a processor fails."""
    clock.busy = 1
    try:  # by position, as keywords take longer
        span = in_force.binding.tracer.start_span(
            site.span_name, around, _INTERNAL, attributes, None, started_unix_ns
        )
        if span.is_recording():
            next(_left)
    except Exception as error:
        failed("no span for %s: a sampler or a processor failed", error, site.span_name)
        span = INVALID_SPAN
    finally:
        clock.busy = 0
    return span
