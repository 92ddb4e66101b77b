"""Tasks of asyncio: what runs in each step of one, between two suspensions, has a clock of its own.

So `with` blocks and spans of other libraries in a task are told its CPU time, and not that of the tasks that
run meanwhile. What a task runs outside any of them is lent to the call, or to the span of another library,
in which it was created.
"""

from __future__ import annotations

import sys
import types
from asyncio import current_task
from collections.abc import Callable
from time import perf_counter_ns, thread_time_ns
from typing import Any, SupportsIndex

from codoperf_otel._calls import greenlets
from codoperf_otel._calls.charged import Account, Charged, is_within, still_charged
from codoperf_otel._calls.context import lender_in
from codoperf_otel._calls.foreign_spans import unwind
from codoperf_otel._calls.runtime_context import runtime
from codoperf_otel._calls.shares import lend, lender_of
from codoperf_otel._calls.thread_clock import ThreadClock, thread

_modules = sys.modules


class TaskSteps(Charged):
    """A task's coroutine, whose steps are charged to the task. To whoever looks at it, it is the coroutine.

    So a task shows its own code and stack.
    """

    __slots__ = ("__weakref__", "_coroutine", "inner", "lender")

    is_share = True
    __class__: Any = property(lambda _: types.CoroutineType)  # what `inspect.iscoroutine` is told

    def __init__(self, coroutine: Any) -> None:
        self._coroutine = coroutine
        self.inner: Charged | None = None
        self.lender: Charged | None = None
        self.outer = self.task = None
        self.self_ns = self.entered_ns = self.cpu_ns = self.started_ns = 0

    def __getattr__(self, name: str) -> Any:
        """Its frame, its name and what else a coroutine has."""
        return getattr(self._coroutine, name)

    def __repr__(self) -> str:
        return repr(self._coroutine)

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        """Neither is a coroutine copied or pickled."""
        return self._coroutine.__reduce_ex__(protocol)

    @property
    def account(self) -> Account | None:  # type: ignore[override]
        """Where it is counted."""
        return None if self.lender is None else self.lender.account

    def send(self, value: Any) -> Any:
        """Run a step."""
        clock = thread.clock
        outer = clock.current
        try:
            if not self.started_ns:
                self._begin()
            inner = self.inner
            if self.lender is None and inner is None and outer is None:
                return self._step_for_nobody(clock, value)
            # `_step`, written out: most steps are of this kind
            now = thread_time_ns()
            if outer is not None:
                outer.self_ns += now - clock.since_ns
            self.outer = outer
            self.entered_ns = clock.since_ns = now
            clock.current = self if inner is None else inner
            try:
                return self._coroutine.send(value)
            finally:
                now = thread_time_ns()
                inner = clock.current
                if inner is not None:
                    inner.self_ns += now - clock.since_ns
                clock.since_ns = now
                self.cpu_ns += now - self.entered_ns  # type: ignore[operator]  # it always has a clock
                self.inner = None if inner is self else inner
                clock.current = self.outer
                if outer is not None or self.lender is None:
                    self._settle()
        except BaseException:
            self._end(clock, outer)
            raise

    def throw(self, *error: Any) -> Any:
        """Run a step that begins with an exception."""
        clock = thread.clock
        outer = clock.current
        try:
            if not self.started_ns:
                self._begin()
            return self._step(clock, outer, self._coroutine.throw, *error)
        except BaseException:
            self._end(clock, outer)
            raise

    def close(self) -> None:
        """Close the coroutine."""
        clock = thread.clock
        outer = clock.current
        try:
            self._step(clock, outer, self._coroutine.close)
        finally:
            self._end(clock, outer)

    def __await__(self) -> _Awaited:
        """For a task factory that has a coroutine of its own around it."""
        return _Awaited(self)

    def _begin(self) -> None:
        """At the first step: learn which task it is, and for whom it works."""
        self.started_ns = perf_counter_ns()
        if self.task is None:
            self.task = current_task()
        self.lender = lender_in(runtime.get_current())
        if "greenlet" in _modules:
            greenlets.follow(self.started_ns)

    def _step_for_nobody(self, clock: ThreadClock, value: Any) -> Any:
        """A step for which nobody is charged, unless something in it lasts: the clock need not be read."""
        self.entered_ns = clock.since_ns
        clock.current = self
        try:
            return self._coroutine.send(value)
        finally:
            if clock.current is self:
                clock.current = None
                self.self_ns = 0
            else:
                self._leave(clock)

    def _step(self, clock: ThreadClock, outer: Charged | None, step: Callable[..., Any], *given: Any) -> Any:
        clock.charge_to(None)
        self.outer = outer
        self.entered_ns = clock.since_ns
        clock.current = self.inner or self
        try:
            return step(*given)
        finally:
            self._leave(clock)

    def _leave(self, clock: ThreadClock) -> None:
        inner = clock.charge_to(self.outer)
        self.cpu_ns += clock.since_ns - self.entered_ns  # type: ignore[operator]
        self.inner = inner if inner is not self else None
        self._settle()

    def _settle(self) -> None:
        """After a step: give it to whoever was charged around it, if that is whom the task works for.

        That one has the step in its CPU time already. An eager task begins so.
        """
        outer = self.outer
        if self.lender is None or is_within(outer, self.lender):
            if outer is not None:
                outer.self_ns += self.self_ns
            self.self_ns = 0

    def _end(self, clock: ThreadClock, outer: Charged | None) -> None:
        """Let whom it worked for have what it ran."""
        if clock.current is not outer:  # an exception of a signal handler came in between, or a span has left
            clock.charge_to(still_charged(outer))
        if self.inner is not None:
            unwind(self.inner, self)
        lender = self.lender
        if lender is not None and ("greenlet" not in _modules or greenlets.is_own(self)):
            lend(lender, self.self_ns, self.self_ns)
        self.lender = lender_of(lender)  # a span that it began may still be asked for whom it worked
        self.inner = self.outer = self.task = None


def stepped(coroutine: Any) -> Any:
    """The steps of a coroutine that is to be a task; anything else as it is."""
    return TaskSteps(coroutine) if type(coroutine) is types.CoroutineType else coroutine


class _Awaited:
    """The steps where they are awaited. A task would prefer the `__next__` of an iterator to its `send`."""

    __slots__ = ("close", "send", "throw")

    def __init__(self, steps: TaskSteps) -> None:
        self.send = steps.send
        self.throw = steps.throw
        self.close = steps.close

    def __iter__(self) -> _Awaited:
        return self

    def __next__(self) -> Any:
        return self.send(None)
