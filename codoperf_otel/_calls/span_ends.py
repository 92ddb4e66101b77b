"""The end of a call's span: what it took, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codoperf_otel import _telemetry
from codoperf_otel._calls import late_events
from codoperf_otel._calls.call import Call
from codoperf_otel._calls.cells import OPERATION
from codoperf_otel._calls.foreign_code import failed
from codoperf_otel._calls.outcomes import outcome_of
from codoperf_otel._calls.shared_spans import SharedSpan
from codoperf_otel._calls.thread_clock import ThreadClock
from codoperf_otel._telemetry import names
from codoperf_otel._telemetry.attribute_sets import Attributes

LOW_BELOW, HIGH_FROM = 0.01, 1.0
"""The bounds of ``codoperf.cpu.class``, in seconds."""


def end_span(
    call: Call,
    clock: ThreadClock,
    measured: Mapping[str, Any] | None,
    error: BaseException | None,
    failure: BaseException | None,
) -> None:
    """Put on a call's span what it took and how it ended, and end it."""
    before = clock.busy
    clock.busy = 1
    try:
        span = call.span
        if span.is_recording():
            span.set_attributes(_description(call, measured))
            for meter in call.open_meters or ():
                meter.mark(span)
            if late_events.waiting:
                late_events.mark(call)
            if type(span) is SharedSpan:  # type: ignore[comparison-overlap]
                if failure is not None:
                    span.say_failure(failure)
            elif failure is not None:
                _telemetry.record_error(span, failure)
            elif error is not None and (outcome := outcome_of(error)) is not None:
                span.set_attribute(names.OUTCOME, outcome)
        span.end(call.epoch_ns + call.paused_ns)
    except Exception as raised:
        failed("the span of %s may be lost: a processor failed", raised, call.site.span_name)
    finally:
        clock.busy = before


def _description(call: Call, measured: Mapping[str, Any] | None) -> Attributes:
    """What the call took."""
    found = _telemetry.CleanAttributes()
    if call.cpu_ns is not None:
        found[names.CPU_TIME] = call.cpu_ns / 1e9
        found[names.CPU_SELF_TIME] = (call.self_ns + (call.shared_ns or 0)) / 1e9
        if call.site.family is OPERATION:
            found[names.CPU_CLASS] = _cpu_class(call.cpu_ns / 1e9, measured)
    if call.suspended_ns:
        found[names.SUSPENDED_TIME] = call.suspended_ns / 1e9
    if call.yielded:
        found[names.YIELDED_COUNT] = call.yielded
    if measured:
        found.update(measured)
    return found


def _cpu_class(own: float, measured: Mapping[str, Any] | None) -> str:
    """How much CPU time the call and its child processes took: a search can ask for equal values only."""
    seconds = own + (measured or {}).get(names.CPU_CHILD_PROCESS_TIME, 0)
    return names.LOW if seconds < LOW_BELOW else names.MEDIUM if seconds < HIGH_FROM else names.HIGH
