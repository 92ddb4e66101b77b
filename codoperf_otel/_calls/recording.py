"""The begin and the end of a call: its span, its duration, its place in cells and statistics."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY as _SUPPRESSED
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span

from codoperf_otel._calls import greenlets
from codoperf_otel._calls.call import Call
from codoperf_otel._calls.call_ledgers import FinishedCall
from codoperf_otel._calls.cells import EXEMPLAR_GAP_NS
from codoperf_otel._calls.context import CALL_KEY, SPAN_KEY, named_in, with_call
from codoperf_otel._calls.cut_off import drop
from codoperf_otel._calls.deferred_spans import DeferredSpan
from codoperf_otel._calls.foreign_code import failed
from codoperf_otel._calls.foreign_spans import settle, span_id_in
from codoperf_otel._calls.invocations import joined
from codoperf_otel._calls.lending import complete
from codoperf_otel._calls.lineages import CPU_NS, ERRORS, Lineage, inside
from codoperf_otel._calls.outcomes import is_failure
from codoperf_otel._calls.recorder import NO_EXEMPLAR
from codoperf_otel._calls.shared_spans import share_span
from codoperf_otel._calls.sites import SECOND_NS, Site
from codoperf_otel._calls.span_ends import end_span
from codoperf_otel._calls.span_starts import start_span
from codoperf_otel._calls.tasks import running_task
from codoperf_otel._calls.thread_clock import ThreadClock
from codoperf_otel._calls.wall_clock import shared_epoch, wall_clock
from codoperf_otel._readings.memory import recent
from codoperf_otel._statistics.ledgers import BATCH
from codoperf_otel._telemetry.attribute_sets import Attributes
from codoperf_otel._telemetry.binding import ALWAYS, Instruments, in_force

if TYPE_CHECKING:
    from codoperf_otel._calls.meters import OpenMeter

_modules = sys.modules
_new = object.__new__


def begin(
    site: Site,
    clock: ThreadClock,
    around: Context,
    attributes: Mapping[str, Any] | None = None,
    make: type[Call] = Call,
) -> Call:
    """Make a call and start its span; nothing is attached yet, and it does not count as running yet."""
    started = perf_counter_ns()
    if "greenlet" in _modules:
        greenlets.follow(started)
    epoch = wall_clock.epoch_ns if started - wall_clock.looked_ns < SECOND_NS else wall_clock.look(started)
    parent: Call | None = around.get(CALL_KEY)  # type: ignore[assignment]
    lineage, within = named_in(around, parent) if around else (None, None)
    if site.agent is not None:
        lineage, within = inside(lineage, site.agent), None
    invocation = None if parent is None else parent.invocation
    if invocation is not None and invocation.budgets and not clock.busy:
        invocation.before(site)
    if parent is not None and parent.epoch_ns != epoch:
        epoch = shared_epoch(parent.epoch_ns, epoch)
    if clock.current is not None and clock.current.is_foreign:
        settle(clock, span_id_in(around))
    here = site.by_agent.get(lineage) or site.for_agent(lineage)
    call = _new(make)
    call.fill(site, here, lineage, within, invocation, around, started, epoch, running_task())
    try:
        if site.agent is not None or (invocation is not None and invocation.budgets):
            call.invocation = joined(invocation, call)
        shared = None if site.execution is None else share_span(call, parent, around, here.attributes)
        if shared is not None:
            call.span = shared
        elif (
            ((held := in_force.binding).makes_spans or (held.follows_provider and trace._TRACER_PROVIDER))
            and not clock.busy
            and not around.get(_SUPPRESSED)
        ):
            call.span = _span_of(call, clock, around, attributes)
        if call.span is not INVALID_SPAN or site.execution is not None:  # an agent is found without a span
            call.context = with_call(around, call.span, call)
        if site.meters and (site.report is not None or call.span.is_recording()):
            call.open_meters = [meter.open(here.cell) for meter in site.meters]
    except BaseException:
        drop(call)
        raise
    return call


def _span_of(call: Call, clock: ThreadClock, around: Context, attributes: Mapping[str, Any] | None) -> Span:
    """The span of a call that begins; `INVALID_SPAN` if it has none."""
    site = call.site
    if site.min_span_ns:
        return DeferredSpan(call, around)
    if site.span_rate is not None and not site.span_rate.allows(call.started_ns):
        return INVALID_SPAN
    if type(above := around.get(SPAN_KEY)) is DeferredSpan:
        above.made()  # a processor that runs meanwhile could make none
    own = call.site_for_agent.attributes
    first = own if not attributes else {**own, **attributes}
    return start_span(site, clock, around, first, call.epoch_ns + call.started_ns)


def finish(call: Call, clock: ThreadClock, error: BaseException | None = None) -> None:
    """End a call that was left: what counts it comes first, then the foreign code that hears of it."""
    here = call.site_for_agent
    cell, site, ledger = here.cell, call.site, here.ledger
    try:
        cell.active.remove(call)
    except KeyError:  # it has ended, or it is a call of the parent of this forked process
        return
    wall = (ended := call.paused_ns) - call.started_ns
    failure = error if error is not None and is_failure(error) else None
    has_further = call.inner is not None or call.shares is not None or "greenlet" in _modules
    cpu_ns = complete(call) if has_further else call.cpu_ns
    if type(call.span) is DeferredSpan:
        _decide(call, call.span, failure is not None or wall >= site.min_span_ns)
    measured = None if call.open_meters is None else _close_meters(call.open_meters, ended)
    if call.shared_ns is not None:
        _end_shared(call, clock, measured, error, failure)
        return
    attributes = here.duration_attributes if failure is None else here.count_failure(failure)
    instruments = in_force.binding.instruments
    is_seen = call.span is not INVALID_SPAN or instruments.exemplars is ALWAYS
    trace_id, span_id = _exemplar(call, wall, instruments) if is_seen else (None, None)
    entry = (
        call.epoch_ns + ended,
        wall,
        call.self_ns if call.cpu_ns is not None or call.self_ns else None,
        call.cpu_ns,
        recent.mb if ended < recent.too_old_ns else recent.reread(ended),
        attributes if instruments.keeps_durations else None,
        trace_id,
        span_id,
        ledger,
    )
    ledger.entries.append(entry)
    if len(ledger.entries) >= BATCH:
        ledger.fold_if_due()
    if here.lineage is not None:
        _count(here.lineage, call, failure, wall, cpu_ns, measured)
    if instruments.records_durations and instruments.has_provider():
        _record(call, clock, wall, attributes, trace_id is not None or instruments.exemplars is ALWAYS)
    if call.context is not None or site.report is not None or site.monitor.log_file is not None:
        _tell(call, clock, entry, measured, error, failure)


def _decide(call: Call, deferred: DeferredSpan, is_wanted: bool) -> None:
    """Give a call the span that it has in the end, if any."""
    call.span = span = deferred.decided(is_wanted)
    if call.context is not None and span is not INVALID_SPAN:
        call.context = with_call(call.context, span, call)  # locks are held where an exemplar asks for ids


def _count(
    lineage: Lineage,
    call: Call,
    failure: BaseException | None,
    wall: int,
    cpu_ns: int | None,
    measured: Mapping[str, Any] | None,
) -> None:
    """Count a call for its agent."""
    if call.self_ns:
        lineage.add(CPU_NS, call.self_ns)
    if failure is not None:
        lineage.add(ERRORS, 1)
    if call.invocation is not None and call.invocation.budgets:
        call.invocation.ended(call)
    if call.site.at_end is not None:
        call.site.at_end(call, wall, cpu_ns, measured or {})


def _end_shared(
    call: Call,
    clock: ThreadClock,
    measured: Mapping[str, Any] | None,
    error: BaseException | None,
    failure: BaseException | None,
) -> None:
    """End a call whose span was shared by one that was counted in its place: only its CPU time is left."""
    call.account.add_late(call.self_ns)
    if call.invocation is not None and call.invocation.budgets:
        call.invocation.ended(call)
    if call.span is not INVALID_SPAN:
        end_span(call, clock, measured, error, failure)
    if call.context is not None:
        call.let_go()


def _record(call: Call, clock: ThreadClock, wall: int, attributes: Attributes | None, offers: bool) -> None:
    """Record the duration in the SDK's histogram, and offer it as an exemplar or not."""
    if attributes is None:
        return
    here = call.site_for_agent
    try:
        histogram = in_force.binding.instruments.histograms[call.site.histogram]
    except Exception as error:
        failed("durations of %s are not recorded: there is no histogram", error, call.site.span_name)
    else:
        context = (call.context if offers and call.span is not INVALID_SPAN else None) or NO_EXEMPLAR
        here.cell.recorder.record(clock, histogram, wall / 1e9, attributes, context)


def _tell(
    call: Call,
    clock: ThreadClock,
    entry: FinishedCall,
    measured: Mapping[str, Any] | None,
    error: BaseException | None,
    failure: BaseException | None,
) -> None:
    """Tell the rest of a call that has ended: log file, span, report."""
    site = call.site
    if site.monitor.log_file is not None:
        site.monitor.log(entry)
    if call.span is not INVALID_SPAN:
        end_span(call, clock, measured, error, failure)
    if site.report is not None and not clock.busy:
        _report(call, clock, entry[1], measured or {}, failure)
    if call.context is not None:
        call.let_go()


def _exemplar(call: Call, wall: int, instruments: Instruments) -> tuple[int | None, int | None]:
    """The ids of the call's trace and span where its duration is to be offered as an exemplar."""
    due = call.site_for_agent.cell.exemplars_due
    octave = wall.bit_length()
    if call.paused_ns - due[octave] < EXEMPLAR_GAP_NS:
        return None, None
    found = call.span.get_span_context()
    if not instruments.offers(found.trace_flags):
        return None, None
    due[octave] = call.paused_ns
    return found.trace_id, found.span_id


def _close_meters(meters: list[OpenMeter], ended_ns: int) -> Mapping[str, Any]:
    first, *others = meters
    measured = first.close(ended_ns)
    for meter in others:
        measured = {**measured, **meter.close(ended_ns)}
    return measured


def _report(
    call: Call, clock: ThreadClock, wall: int, measured: Mapping[str, Any], failure: BaseException | None
) -> None:
    report, site = call.site.report, call.site
    before = clock.busy
    clock.busy = 1
    try:
        if report is not None:
            report(site, call.context, wall / 1e9, measured, failure)
    except Exception as error:
        failed("the resources of %s are not logged: a log handler failed", error, site.span_name)
    finally:
        clock.busy = before
