"""Spans of other libraries: what runs between their start and their end is charged to them.

Nobody tells whether such a span is made current, nor where it will end. So it stays charged only as long as
it is seen to be current, and *leaves* otherwise: its time goes to who was charged before, and it has no
figure. It leaves

- when another span or call begins above it whose parent it is not, and while it is not the current span;
- when what is charged below it ends first;
- when it ends in another thread or task, or below a call that is still running.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from time import perf_counter_ns
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext

from codoperf_otel import _forks
from codoperf_otel._calls import greenlets
from codoperf_otel._calls.charged import Account, Charged
from codoperf_otel._calls.foreign_code import failed
from codoperf_otel._calls.invocations import Invocation
from codoperf_otel._calls.lineages import CPU_NS, Lineage, inside
from codoperf_otel._calls.model_calls import NO_TOKENS
from codoperf_otel._calls.runtime_context import runtime
from codoperf_otel._calls.shares import Lender, lend
from codoperf_otel._calls.tasks import running_task_or_loop
from codoperf_otel._calls.thread_clock import ThreadClock, thread
from codoperf_otel._telemetry.names import GEN_AI_AGENT_NAME

MARK = "_codoperf_charged"
"""The attribute of a span that says how it is charged."""

_modules = sys.modules
_began_ns = 0
"""When this process began to be one: in a forked child, the spans of the parent have no figure."""


class ForeignSpan(Lender):
    """A span of another library while it is open. `clock` is that of the thread in which it started.

    The agent inside is the one that it names, or else that `around` it, or where it is `within` another
    span that is measured, the one inside that.
    """

    __slots__ = (
        "account",
        "around",
        "clock",
        "driver",
        "has_left",
        "invocation",
        "shared_ns",
        "span",
        "tokens",
        "within",
    )

    account: Account | None
    driver: Charged | None
    invocation: Invocation | None
    around: Lineage | None
    within: ForeignSpan | None
    shared_ns: int | None
    """The self CPU time of the call that shares the span."""
    is_block = True
    is_foreign = True

    def fill(self, span: Span) -> None:
        """Begin. A constructor takes half as long again."""
        self.span: Span | None = span
        self.clock = thread.clock
        self.task = running_task_or_loop()
        self.started_ns = perf_counter_ns()
        self.around = self.within = self.invocation = None
        self.cpu_ns = self.outer = self.driver = self.account = self.shares = self.shared_ns = None
        self.self_ns = self.entered_ns = 0
        self.has_left = True
        self.tokens = NO_TOKENS

    def lineage(self) -> Lineage | None:
        """The agent in force inside: the one that it names by now, or else the nearest one around it."""
        if self.within is None:
            return self._inside(self.around)
        spans: list[ForeignSpan] = [self]
        while (outer := spans[-1].within) is not None:
            spans.append(outer)
        found = spans[-1].around
        for span in reversed(spans):
            found = span._inside(found)
        return found

    def _inside(self, around: Lineage | None) -> Lineage | None:
        name = self.attributes().get(GEN_AI_AGENT_NAME)
        return inside(around, name) if name and isinstance(name, str) else around

    def attributes(self) -> Mapping[str, Any]:
        """The attributes of its span by now. They are copied: each look-up is several calls of the SDK's."""
        span: Any = self.span
        try:
            return {} if span is None else span.attributes.copy()
        except Exception as error:
            failed("a span of another library has no attributes", error)
            return {}

    def let_go(self, lineage: Lineage | None) -> None:
        """Keep nothing of its span but the agent inside."""
        self.around = lineage
        self.span = self.within = self.invocation = None

    def is_of(self, context: SpanContext | None) -> bool:
        """Whether its span is the one with this context; not where it has ended elsewhere."""
        span = self.span
        return span is not None and span.get_span_context() is context

    def is_one_of(self, span_ids: Iterable[int]) -> bool:
        """Whether its span is one of those with these ids; not where it has ended elsewhere."""
        span = self.span
        return span is not None and span.get_span_context().span_id in span_ids

    def start(self, parent: SpanContext | None) -> None:
        """Charge it from now on, if its CPU time can be told from that of others.

        That is where no event loop runs, and in a task whose steps are followed.
        """
        clock = self.clock
        if "greenlet" in _modules:
            greenlets.follow(self.started_ns)
        around = clock.current
        if isinstance(around, ForeignSpan) and not around.is_of(parent):
            settle(clock, 0 if parent is None else parent.span_id, span_id_in(runtime.get_current()))
            around = clock.current
        if self.task is not None if around is None else not self._joins(around):
            return
        self.outer = around
        self.has_left = False
        clock.charge_to(self)
        self.entered_ns = clock.reading(self.driver)

    def _joins(self, around: Charged) -> bool:
        """Take the clock of who is charged now; returns whether there is one."""
        self.account = around.account
        self.driver = around.driver if around.is_block else around
        has_clock = self.driver is None or self.driver.cpu_ns is not None
        return has_clock and around.task is self.task

    def end(self, lineage: Lineage | None) -> None:
        """End it, with this agent in force inside: `cpu_ns` is then known, unless it has left."""
        clock = thread.clock
        if clock.current is not self:
            if self.has_left or clock is not self.clock:  # its own thread takes it away
                return
            uncover(clock, self)
        if clock.current is not self or self.task is not running_task_or_loop():
            self._end_below(clock)
            return
        clock.charge_to(self.outer)
        self.has_left = True
        if self.started_ns >= _began_ns and ("greenlet" not in _modules or greenlets.is_own(self)):
            self.cpu_ns = clock.reading(self.driver) - self.entered_ns
            if self.shares is not None:
                self.gather_shares()
            if lineage is not None:
                lineage.add(CPU_NS, self.self_ns)
            if self.invocation is not None:
                self.invocation.use(CPU_NS, self.self_ns)
            if self.account is not None:
                self.account.add_foreign(self.self_ns)
        self.driver = None

    def leave(self) -> None:
        """Have no figure: what was charged to it goes to who was charged before."""
        self.has_left = True
        if self.outer is not None:
            self.outer.self_ns += self.self_ns
        if self.shares is not None:
            self.add_late(*self.shares.close())
        self.self_ns = 0
        self.driver = None

    def add_late(self, self_ns: int, cpu_ns: int) -> None:
        """Hand on what was run for it, and comes after it has left, to who was charged before."""
        lend(self.outer, self_ns, cpu_ns)

    def leave_top(self, clock: ThreadClock) -> None:
        """Leave while it is charged."""
        clock.charge_to(self.outer)
        self.leave()

    def abandon(self) -> None:
        """Leave if it is still charged: an exception of a signal handler has left its start or its end."""
        if self.clock.current is self and self.clock is thread.clock:
            self.leave_top(self.clock)

    def _end_below(self, clock: ThreadClock) -> None:
        """Leave from wherever it is now; where that is not seen, it is taken away when it is seen again."""
        above = clock.current
        if above is self:
            self.leave_top(clock)
            return
        while above is not None and above.outer is not self:
            above = above.outer
        if above is not None:
            self.leave()
            above.outer = self.outer


def settle(clock: ThreadClock, *current: int) -> None:
    """Let the spans that are charged, and are not among these current ones, leave."""
    top = clock.current
    while isinstance(top, ForeignSpan) and not top.is_one_of(current):
        top.leave_top(clock)
        top = clock.current


def uncover(clock: ThreadClock, ending: Charged) -> None:
    """Let the spans above what ends leave, if there are only spans above it."""
    above = clock.current
    while isinstance(above, ForeignSpan) and above is not ending:
        above = above.outer
    if above is ending:
        while isinstance(top := clock.current, ForeignSpan) and top is not ending:
            top.leave_top(clock)


def unwind(inner: Charged | None, ended: Charged | None) -> None:
    """Let leave what was still charged, from `inner` on down, when `ended` did: spans, and ended blocks.

    Where it is None, all that the thread did for somebody has ended.
    """
    chain: list[Charged] = []
    while inner is not None and inner is not ended:
        chain.append(inner)
        inner = inner.outer
    if inner is not ended:
        return
    kept: Charged | None = None
    for each in chain:
        if isinstance(each, ForeignSpan) or each.has_left:
            each.leave()
            if kept is not None:
                kept.outer = each.outer
        else:
            kept = each
            if each.is_block:
                each.cpu_ns = None  # from here on it is charged no more


def charged_for(span: object) -> ForeignSpan | None:
    """How a span is charged, also through a proxy of it; None for those of ours and what is not measured."""
    try:
        found = getattr(span, MARK, None)
    except Exception as error:
        failed("a span cannot be looked into", error)
        return None
    return found if isinstance(found, ForeignSpan) else None


def span_id_in(context: Context) -> int:
    """The id of a Context's span, 0 without one."""
    try:
        return trace.get_current_span(context).get_span_context().span_id
    except Exception as error:
        failed("the current span has no id", error)
        return 0


@_forks.in_child
def _forked() -> None:
    global _began_ns
    _began_ns = perf_counter_ns()
