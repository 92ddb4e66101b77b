"""The begin and the end of a call: its span, its duration, its place in cells and statistics."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from time import perf_counter_ns, process_time_ns, time_ns
from types import ModuleType
from typing import TYPE_CHECKING, Any

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY as _SUPPRESSED
from opentelemetry.context import Context, get_current
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind

from codoperf_otel import _context, _telemetry
from codoperf_otel._context import RECORD_KEY, Record, with_record
from codoperf_otel._readings import memory
from codoperf_otel._sites import Site
from codoperf_otel._statistics import Attributes
from codoperf_otel._telemetry import names

if TYPE_CHECKING:
    from codoperf_otel._readings.peak import Peak

log = logging.getLogger("codoperf_otel.calls")

_INTERNAL = SpanKind.INTERNAL


def begin(site: Site, attributes: Mapping[str, Any] | None = None) -> Record:
    """Start the span of a call and make its record; nothing is attached yet."""
    around = get_current()
    parent: Record | None = around.get(RECORD_KEY)  # type: ignore[assignment]
    agent = site.agent
    if parent is not None:
        agent = agent or parent.agent
        while parent is not None and parent.ended:  # else tasks that start each other are a growing chain
            parent = parent.parent
    place = site.places.get(agent) or site.add_place(agent)
    record = Record(place.cell, parent, agent, around, time_ns())
    if not around.get(_SUPPRESSED) and (not site.is_selective or _has_span(site)):
        first = place.attributes if not attributes else {**place.attributes, **attributes}
        record.span = _start_span(site, around, first, record.started_at)
    # without a span there is nothing to be the parent of; an agent must still be found by what it calls
    if record.span is not INVALID_SPAN or site.agent is not None:
        record.context = with_record(around, record.span, record)
    place.cell.active.append(None)
    if site.memory and (site.report is not None or record.span.is_recording()):
        _open_window(record)
    record.started = perf_counter_ns()
    return record


def _has_span(site: Site) -> bool:
    return not site.min_span_ns and (site.span_rate is None or site.span_rate.allows(perf_counter_ns()))


def _start_span(site: Site, around: Context, attributes: Attributes, started_at: int) -> Span:
    try:  # by position, as keywords take longer
        return _telemetry.active().tracer.start_span(
            site.span_name, around, _INTERNAL, attributes, None, started_at
        )
    except Exception:
        log.warning(
            "no span for %s: a sampler or a processor failed",
            site.span_name,
            exc_info=True,
            extra={"operation": site.span_name},
        )
        return INVALID_SPAN


@cache
def _peak() -> ModuleType:
    from codoperf_otel._readings import peak  # not at the top: only operations need it

    return peak


def _open_window(record: Record) -> None:
    record.window = window = _peak().open_window()
    if window is None:  # no memory is told here, but CPU time is
        record.process_ns = process_time_ns()
    else:
        record.cell.windows.add(window)


def finish(site: Site, record: Record, error: BaseException | None = None) -> None:
    """End a call that was left: its span, duration, CPU time and statistics. Never raises."""
    if record.generation != _context.generation:
        return  # begun by the parent of this forked process, which ends it
    try:
        failure = error if error is not None and is_failure(error) else None
        ended = record.left
        wall = ended - record.started
        record.cell.active.pop()
        if record.lends:
            _take_loans(record)
        record.ended = True
        if site.min_span_ns and (wall >= site.min_span_ns or failure is not None):
            _start_late_span(site, record)
        taken = _close_window(record, wall) if record.window is not None else None
        span = record.span
        if span is not INVALID_SPAN and span.is_recording():
            _describe(record, taken, error, failure)
        cell = record.cell
        attributes = cell.duration_attributes if failure is None else cell.error_attributes(failure)
        cell.record(_telemetry.active().histograms[site.histogram], wall, ended, attributes, record.context)
        if span is not INVALID_SPAN:
            span.end(record.started_at + wall)
        _count(site, record, wall, ended)
        if site.report is not None:
            site.report(record, wall / 1e9, taken, failure)
        record.context = record.task = None  # the one holds this record, the other what ran it
    except Exception:
        fields = {"operation": site.span_name, "duration": (record.left - record.started) / 1e9}
        log.warning("the end of %s is not recorded", site.span_name, exc_info=True, extra=fields)


def _start_late_span(site: Site, record: Record) -> None:
    if not record.outer_context.get(_SUPPRESSED):
        attributes = (site.places.get(record.agent) or site.add_place(record.agent)).attributes
        record.span = span = _start_span(site, record.outer_context, attributes, record.started_at)
        record.context = with_record(record.outer_context, span, record)


def _take_loans(record: Record) -> None:
    with record.cell.lock:
        record.ended = True
        record.self_ns += record.lent_self_ns
        if record.cpu_ns is not None:
            record.cpu_ns += record.lent_cpu_ns


def _count(site: Site, record: Record, wall: int, ended: int) -> None:
    """Add the call to the totals and to the statistics."""
    cpu_ns = record.cpu_ns
    if cpu_ns is not None or record.self_ns:
        record.cell.add_cpu(record.self_ns)
    cpu_percent = 100 * cpu_ns / wall if cpu_ns is not None and wall else None
    finished_at = (record.started_at + wall) / 1e9
    site.sink((site.name, wall / 1e9, memory.recent_rss_mb(ended), cpu_percent, finished_at, None))


def is_failure(error: BaseException) -> bool:
    """Whether an exception that ends a call is an error of it, rather than the caller's will."""
    if isinstance(error, SystemExit):
        return bool(error.code)
    return outcome_of(error) is None


def outcome_of(error: BaseException) -> str | None:
    """``abandoned`` for a generator closed early, ``cancelled`` for a cancelled task, else None."""
    if isinstance(error, GeneratorExit):
        return names.ABANDONED
    kind = type(error)
    if kind.__name__ == "CancelledError" and kind.__module__ in {
        "asyncio.exceptions",
        "concurrent.futures._base",
    }:
        return names.CANCELLED
    return None


def _close_window(record: Record, wall: int) -> Peak:
    reading: Peak = record.window.close()
    record.cell.add_peak(record.window, record.started + wall, reading.peak)
    return reading


def _describe(
    record: Record, taken: Peak | None, error: BaseException | None, failure: BaseException | None
) -> None:
    """Say on the span what the call took and how it ended."""
    span = record.span
    measured = _telemetry.CleanAttributes()
    if record.cpu_ns is not None:
        measured[names.CPU_TIME] = record.cpu_ns / 1e9
        if record.self_ns != record.cpu_ns:
            measured[names.CPU_SELF_TIME] = record.self_ns / 1e9
    if record.suspended_ns:
        measured[names.SUSPENDED_TIME] = record.suspended_ns / 1e9
    if record.yielded:
        measured[names.YIELDED_COUNT] = record.yielded
    if taken is not None:
        _describe_process(measured, record, taken)
    elif record.process_ns is not None:
        measured[names.PROCESS_CPU_TIME_SPENT] = (process_time_ns() - record.process_ns) / 1e9
    span.set_attributes(measured)
    if failure is not None:
        _telemetry.record_error(span, failure)
    elif error is not None and (outcome := outcome_of(error)) is not None:
        span.set_attribute(names.OUTCOME, outcome)


def _describe_process(measured: Attributes, record: Record, taken: Peak) -> None:
    """Say what the process used."""
    cpu = record.window.cpu_seconds
    if cpu is not None:
        measured[names.PROCESS_CPU_TIME_SPENT] = cpu
    start, end, peak, source = taken
    measured[names.PROCESS_MEMORY_START] = start
    if end is not None:
        measured[names.PROCESS_MEMORY_END] = end
    if peak is not None:
        measured[names.PROCESS_MEMORY_PEAK] = peak
        measured[names.PROCESS_MEMORY_PEAK_SOURCE] = source
