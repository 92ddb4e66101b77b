"""A block of code recorded as one call, and the clock of its CPU time.

A block is not driven: nobody knows when a task suspends in it. Its clock is that of the driven call
around it, which is.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from time import perf_counter_ns
from types import TracebackType
from typing import Any, Self, cast

from opentelemetry.context import Context
from opentelemetry.trace import Span

from codoperf_otel._calls import greenlets
from codoperf_otel._calls.call import BlockCall, Call
from codoperf_otel._calls.charged import Charged, still_charged
from codoperf_otel._calls.context import call_in
from codoperf_otel._calls.cut_off import drop
from codoperf_otel._calls.finishers import finisher
from codoperf_otel._calls.foreign_spans import uncover
from codoperf_otel._calls.recording import begin
from codoperf_otel._calls.runtime_context import runtime
from codoperf_otel._calls.sites import Site
from codoperf_otel._calls.tasks import running_task
from codoperf_otel._calls.thread_clock import ThreadClock, thread

Block = Generator[BlockCall, BaseException | None, None]


class Scope:
    """A block of code recorded as one call: ``with`` and ``async with`` alike.

    What is done at its two ends stands in a generator. So an exception of a signal handler finds it within a
    ``try``, even where it comes before the first line of ``__exit__``: the generator is then closed when the
    scope is let go of.
    """

    def __init__(self, site: Site, attributes: Mapping[str, Any] | None = None) -> None:
        self.site = site
        self._attributes = attributes
        self._open: list[tuple[BlockCall, Block]] = []

    def __enter__(self) -> Self:
        block = _block(self.site, self._attributes)
        try:
            self._open.append((next(block), block))
        except BaseException:
            block.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._open:  # it is left more often than it was entered
            return
        opened = self._open[-1]
        try:
            opened = self._closing()
            self._open.remove(opened)
            opened[1].send(error)
        except StopIteration:
            return
        except BaseException:
            opened[1].close()
            raise

    def abandon(self) -> None:
        """Let go of what is open, as an exception of a signal handler does."""
        while self._open:
            self._open.pop()[1].close()

    @property
    def span(self) -> Span:
        """The span of the newest block that is open."""
        return self._open[-1][0].span

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def _closing(self) -> tuple[BlockCall, Block]:
        """The block that ends: this scope's innermost one on the Context, else its newest."""
        call = call_in(runtime.get_current())
        while call is not None:
            for opened in self._open:
                if opened[0] is call:
                    return opened
            call = call.parent
        return self._open[-1]


def _block(site: Site, attributes: Mapping[str, Any] | None) -> Block:
    """Both ends of a block: it yields the call that has begun, and is sent the error with which it ends."""
    clock = thread.clock
    outer = clock.current
    around = runtime.get_current()
    call = left = None
    try:
        try:
            call = cast("BlockCall", begin(site, clock, around, attributes, BlockCall))
            call.parent = _running(call_in(around))
            call.site_for_agent.cell.active.add(call)
            if call.context is not None:
                runtime.attach(call.context)
            _open_clock(call, clock)
            error = yield call
            _close_clock(call, thread.clock)
            _leave_context(call)
            left = runtime.get_current()
            call.paused_ns = perf_counter_ns()
            finisher(call.site)(call, thread.clock, error)
        except BaseException:
            _abandon(call, clock, outer, around, left)
            raise
    except BaseException:
        _abandon(call, clock, outer, around, left)
        raise


def _abandon(
    call: BlockCall | None, clock: ThreadClock, outer: Charged | None, around: Context, left: Context | None
) -> None:
    """Put back what was current before a block that an exception of a signal handler has left halfway.

    `left` is what was current when it had left the Context: a processor of spans may have set something else.
    """
    if call is not None:  # a block around it may have ended meanwhile
        outer, around = call.outer, around if call.around is None else call.around
    drop(call)
    if clock is not thread.clock:  # another thread collects garbage
        return
    if left is not None:
        runtime.attach(left)
    if call is None or clock.current is call:
        clock.charge_to(still_charged(outer))
    if call is None or call_in(runtime.get_current()) is call:
        runtime.attach(around)


def _running(call: Call | None) -> Call | None:
    """The innermost of a call and those around it that has not ended."""
    while call is not None and not call.is_running:
        call = call.parent
    return call


def _leave_context(call: BlockCall) -> None:
    """Take a call off the Context: scopes may close in any order, and those inside stay."""
    around = call.around
    found = call_in(runtime.get_current())
    if found is call and around is not None:
        runtime.attach(around)
        return
    while found is not None:
        if isinstance(found, BlockCall) and found.parent is call:
            found.around, found.parent = around, call.parent
            return
        found = found.parent


def _open_clock(call: BlockCall, clock: ThreadClock) -> None:
    """Let the block's CPU time be that of the driven call around it, else of the thread.

    In a task that no driven call encloses the thread also runs others: there is no figure then.
    """
    around = clock.current
    if around is None:
        known = call.task is None
    else:
        known = around.task is call.task
        call.driver = around.driver if around.is_block else around
        known = known and (call.driver is None or call.driver.cpu_ns is not None)
    if not known:
        call.cpu_ns = call.driver = None
        return
    call.outer = clock.charge_to(None)
    call.entered_ns = clock.reading(call.driver)
    clock.current = call


def _close_clock(call: BlockCall, clock: ThreadClock) -> None:
    if call.cpu_ns is None:
        return
    in_its_task = call.task is running_task()
    uncover(clock, call)
    if clock.current is not call or not in_its_task:
        call.cpu_ns = None  # left elsewhere than it was entered
        if not _unlink(call, clock):
            call.counted_ns = call.self_ns
            if in_its_task:
                greenlets.miss()
        return
    clock.charge_to(call.outer)
    if not _is_current(call):  # the thread has done other work meanwhile
        if call.outer is not None:
            call.outer.self_ns += call.self_ns
        call.cpu_ns, call.self_ns = None, 0
        return
    call.cpu_ns = clock.reading(call.driver) - call.entered_ns
    call.outer = call.driver = None


def _is_current(call: BlockCall) -> bool:
    """Whether a block, which has no Context where it has no span, is in the Context that it is left in."""
    found = call_in(runtime.get_current())
    while found is not None and found is not call:
        found = found.parent
    return found is call or call.context is None


def _unlink(call: Call, clock: ThreadClock) -> bool:
    """Let nobody go on with a call that has ended when what runs inside it ends.

    Returns whether it was found.
    """
    inner = clock.current
    found = inner is call
    if found:
        clock.charge_to(call.outer)
    while inner is not None:
        if inner.outer is call:
            inner.outer = call.outer
            found = True
        inner = inner.outer
    return found
