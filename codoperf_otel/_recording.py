"""The begin and the end of a call: its span, its duration, its place in cells and statistics."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from time import perf_counter_ns, process_time_ns
from typing import TYPE_CHECKING, Any

from opentelemetry.context import get_current
from opentelemetry.trace import INVALID_SPAN, Span

from codoperf_otel import _context, _telemetry
from codoperf_otel._context import Record, record_in, running_task, with_record
from codoperf_otel._readings import memory
from codoperf_otel._sites import Site
from codoperf_otel._statistics import Attributes
from codoperf_otel._summary import Entry
from codoperf_otel._telemetry import names

if TYPE_CHECKING:
    from codoperf_otel._readings.peak import Peak

log = logging.getLogger("codoperf_otel.calls")


def begin(site: Site, attributes: Mapping[str, Any] | None = None) -> Record:
    """Start the span of a call and make its record; nothing is attached yet."""
    around = get_current()
    parent = record_in(around)
    agent = site.agent or (parent.agent if parent is not None else None)
    while parent is not None and parent.ended:  # else a chain of tasks that start each other grows for ever
        parent = parent.parent
    place = site.place(agent)
    record = Record(place.cell, parent, agent)
    record.task = running_task()
    record.outer_context = around
    record.started_at = time.time_ns()
    if site.min_span_ns or (site.span_rate is not None and not site.span_rate.allows(perf_counter_ns())):
        record.span = INVALID_SPAN
    else:
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


def _open_window(record: Record) -> None:
    from codoperf_otel._readings import peak  # not at the top: only operations need it

    record.process_ns = process_time_ns()
    record.window = peak.open_window()
    if record.window is not None:
        record.cell.windows.add(record.window)


def _start_span(site: Site, around: Any, attributes: Attributes, started_at: int) -> Span:
    try:
        return _telemetry.active().tracer.start_span(
            site.span_name, around, attributes=attributes, start_time=started_at
        )
    except Exception:
        log.warning("no span for %s: a sampler or a processor failed", site.span_name, exc_info=True)
        return INVALID_SPAN


def finish(site: Site, record: Record, error: BaseException | None = None) -> None:
    """End the call: its span, its duration, its CPU time and its statistics. Never raises."""
    ended = perf_counter_ns()
    if record.generation != _context.generation:
        return  # begun by the parent of this forked process, which ends it
    try:
        _finish(site, record, ended, error)
    except Exception:
        log.warning("the end of %s is not recorded", site.span_name, exc_info=True)


def _finish(site: Site, record: Record, ended: int, error: BaseException | None) -> None:
    cell = record.cell
    cell.active.pop()
    _settle_loans(record)
    wall = ended - record.started
    span = record.span
    failure = error if error is not None and is_failure(error) else None
    if site.min_span_ns and (wall >= site.min_span_ns or failure is not None):
        attributes = site.place(record.agent).attributes
        record.span = span = _start_span(site, record.outer_context, attributes, record.started_at)
        record.context = with_record(record.outer_context, span, record)
    taken = _close_window(record, wall) if record.window is not None else None
    if span.is_recording():
        _describe(record, taken, error, failure)
    attributes = (
        cell.duration_attributes if failure is None else cell.error_attributes(_telemetry.error_type(failure))
    )
    seconds = wall / 1e9
    cell.record(_telemetry.active().histogram(site.histogram), seconds, attributes, record.context)
    span.end(record.started_at + wall)
    if record.cpu_ns is not None or record.self_ns:
        cell.add_cpu(record.self_ns)
    cpu_percent = 100 * record.cpu_ns / wall if record.cpu_ns is not None and wall else None
    finished_at = (record.started_at + wall) / 1e9
    entry = Entry(site.name, seconds, memory.recent_rss_mb(ended), cpu_percent, finished_at, {})
    site.sink(entry)
    if site.report is not None:
        site.report(record, entry, taken, failure)
    record.context = record.task = None  # the one holds this record, the other what ran it


def _settle_loans(record: Record) -> None:
    if not record.lends:
        record.ended = True
        return
    with record.cell.lock:
        record.ended = True
        record.self_ns += record.lent_self_ns
        if record.cpu_ns is not None:
            record.cpu_ns += record.lent_cpu_ns


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
    record: Record,
    taken: Peak | None,
    error: BaseException | None,
    failure: BaseException | None,
) -> None:
    span = record.span
    span.set_attributes(_measured(record, taken))
    if failure is not None:
        _telemetry.record_error(span, failure)
    elif error is not None and (outcome := outcome_of(error)) is not None:
        span.set_attribute(names.OUTCOME, outcome)


def _measured(record: Record, taken: Peak | None) -> Attributes:
    """The time and process attributes of a call that ends now."""
    measured: Attributes = {}
    if record.cpu_ns is not None:
        measured[names.CPU_TIME] = record.cpu_ns / 1e9
        if record.self_ns != record.cpu_ns:
            measured[names.CPU_SELF_TIME] = record.self_ns / 1e9
    if record.suspended_ns:
        measured[names.SUSPENDED_TIME] = record.suspended_ns / 1e9
    if record.yielded:
        measured[names.YIELDED_COUNT] = record.yielded
    if record.process_ns is not None:
        measured[names.PROCESS_CPU_TIME_SPENT] = (process_time_ns() - record.process_ns) / 1e9
    if taken is not None:
        measured.update(_memory(taken))
    return measured


def _memory(reading: Peak) -> Attributes:
    return {
        name: value
        for name, value in (
            (names.PROCESS_MEMORY_START, reading.start),
            (names.PROCESS_MEMORY_END, reading.end),
            (names.PROCESS_MEMORY_PEAK, reading.peak),
            (names.PROCESS_MEMORY_PEAK_SOURCE, reading.source),
        )
        if value is not None
    }
