"""The span of a call that may be too short to have one.

It is the call's current span from the beginning on. It is *made*, with the call's true start, as soon as
anybody asks for its ids: a span that starts inside it, headers, a log record. So what has a parent finds it.
What is written on it until then waits. If nobody asks, the end of the call decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from threading import RLock
from time import time_ns
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span, SpanContext, Status, StatusCode
from opentelemetry.util.types import Attributes, AttributeValue

from codoperf_otel import _forks
from codoperf_otel._calls import late_events
from codoperf_otel._calls.call import Call
from codoperf_otel._calls.context import SPAN_KEY
from codoperf_otel._calls.runtime_context import runtime
from codoperf_otel._calls.span_ends import end_span
from codoperf_otel._calls.span_starts import start_span
from codoperf_otel._calls.thread_clock import ThreadClock, thread

_MOST_WRITES = 128
_MOST_ABOVE = 64
"""How many that are not made may be above one: what each call starts may outlive it, without end."""

_LONGEST_WAIT = 1.0
"""Seconds for which a thread waits for another that makes the span: a processor may wait for this thread."""


class DeferredSpan(Span):
    """The current span of a call until it is known whether the call has one."""

    _codoperf_charged = None  # what runs in the call is charged to the call
    _codoperf_shared = True  # a framework's span is never one

    _above = 0
    _span: Span | None = None
    _writes: list[tuple[str, tuple[Any, ...]]] | None = None

    def __init__(self, call: Call, around: Context) -> None:
        self._call: Call | None = call
        self._around = around
        above = around.get(SPAN_KEY)
        if type(above) is DeferredSpan and above._span is None:
            self._begin_below(above)

    def _begin_below(self, above: DeferredSpan) -> None:
        """Know how many are above, and bound them: those that have ended are forgotten."""
        if above._above < _MOST_ABOVE:
            self._above = above._above + 1
        elif (call := above._call) is not None and call.is_running:
            above.made()
        else:
            self._around = above._chain()[-1]._around

    def _chain(self) -> list[DeferredSpan]:
        """This one and those above it, as far as they are not made."""
        chain: list[DeferredSpan] = []
        link: object = self
        while type(link) is DeferredSpan and link._span is None:
            chain.append(link)
            link = link._around.get(SPAN_KEY)
        return chain

    def made(self) -> Span:
        """The call's span. It is started if it was not, with those above it; INVALID_SPAN if that fails."""
        for each in reversed(self._chain()):
            each._make()
        return self._span or INVALID_SPAN

    def _make(self) -> None:
        """Start the span, and end it if the call has ended; not while telemetry's own code runs here."""
        clock = thread.clock
        if clock.busy:
            return
        lock = vars(self).setdefault("_lock", RLock())
        is_alone = lock.acquire(timeout=_LONGEST_WAIT)
        try:
            if self._span is None and (call := self._call) is not None:
                self._start(call, clock)
        finally:
            if is_alone:
                lock.release()

    def _start(self, call: Call, clock: ThreadClock) -> None:
        attributes, started = call.site_for_agent.attributes, call.epoch_ns + call.started_ns
        self._span = span = start_span(call.site, clock, self._around, attributes, started)
        self._write_waiting()
        if call.span is not self and self._is_first_to_end("late"):
            call.span = span
            end_span(call, clock, None, None, None)
        self._call = None
        self._around = Context()

    def decided(self, is_wanted: bool) -> Span:
        """At the end of the call: its span if it is wanted, or was asked for; else INVALID_SPAN."""
        if (call := self._call) is not None and self._span is None:
            if is_wanted and _is_within_rate(call):
                self.made()
            else:
                call.span = INVALID_SPAN
                if late_events.waiting:
                    late_events.waiting.pop(call, None)
        if self._span is None:
            return INVALID_SPAN
        return self._span if self._is_first_to_end("with the call") else INVALID_SPAN

    def _is_first_to_end(self, ender: str) -> bool:
        """Whether the call ends the span, or who makes it after the call has ended: another thread, maybe."""
        return bool(vars(self).setdefault("_ender", ender) == ender)

    def _write(self, method: str, *arguments: Any) -> None:
        if self._span is None and not self.is_recording():
            return
        writes = vars(self).setdefault("_writes", [])
        writes.append((method, arguments))
        if len(writes) > _MOST_WRITES:
            self.made()
        if self._span is not None:
            self._write_waiting()

    def _write_waiting(self) -> None:
        while self._writes:
            method, arguments = self._writes.pop(0)
            getattr(self._span, method)(*arguments)

    def is_recording(self) -> bool:
        if self._span is not None:
            return self._span.is_recording()
        return self._call is not None and self._call.span is self

    def get_span_context(self) -> SpanContext:
        return self.made().get_span_context()

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        self._write("set_attributes", dict(attributes))

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        self._write("set_attribute", key, value)

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        self._write("add_event", name, attributes, time_ns() if timestamp is None else timestamp)

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        self._write("add_link", context, attributes)

    def update_name(self, name: str) -> None:
        self._write("update_name", name)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        self._write("set_status", status, description)

    def record_exception(self, *arguments: Any, **named: Any) -> None:
        self.made().record_exception(*arguments, **named)

    def end(self, end_time: int | None = None) -> None:
        self.made().end(end_time)

    def __getattr__(self, name: str) -> Any:
        """What the SDK's spans show of themselves."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.made(), name)


def _is_within_rate(call: Call) -> bool:
    rate = call.site.span_rate
    return rate is None or rate.allows(call.paused_ns)


@_forks.before_fork
def _make_current() -> None:
    """A child must find the ids of the span it is in: its parent sends that span."""
    span = runtime.get_current().get(SPAN_KEY)
    if type(span) is DeferredSpan:
        span.made()
