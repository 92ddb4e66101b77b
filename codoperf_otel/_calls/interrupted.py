"""The calls that the end of the process interrupts."""

from __future__ import annotations

from time import perf_counter_ns

from opentelemetry.trace import INVALID_SPAN

from codoperf_otel._calls.call import Call
from codoperf_otel._calls.cells import calls_in_flight
from codoperf_otel._calls.deferred_spans import DeferredSpan
from codoperf_otel._calls.foreign_code import failed
from codoperf_otel._calls.thread_clock import thread
from codoperf_otel._telemetry import names


def end_open_spans() -> None:
    """End the spans of the calls in flight: the process ends before they do. The calls are not counted."""
    now = perf_counter_ns()
    clock = thread.clock
    for call in calls_in_flight():
        _decide(call, now)
    before = clock.busy
    clock.busy = 1  # a processor may call monitored functions
    try:
        for call in calls_in_flight():
            _end_span(call, now)
    finally:
        clock.busy = before


def _decide(call: Call, now: int) -> None:
    """Let a call have its span if it is too long by now to have none."""
    span = call.span
    if type(span) is DeferredSpan:
        call.span = span.decided(now - call.started_ns >= call.site.min_span_ns)


def _end_span(call: Call, now: int) -> None:
    """End a call's span, which the call then has no more: its thread may come to its end all the same."""
    span, call.span = call.span, INVALID_SPAN
    if not span.is_recording():
        return
    try:
        span.set_attribute(names.OUTCOME, names.INTERRUPTED)
        span.end(call.epoch_ns + now)
    except Exception as error:
        failed("the span of %s may be lost: a processor failed", error, call.site.span_name)
