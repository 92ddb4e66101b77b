"""Drives plain functions, and what they return that is to be awaited.

A wrapper names nothing but what is local to the function that makes it (see `like`), so these begin
with local names for what they use.
"""

from __future__ import annotations

import inspect
from contextlib import suppress
from time import perf_counter_ns, thread_time_ns
from typing import Any, cast

from codoperf_otel._calls.budget_exceeded import BudgetExceeded
from codoperf_otel._calls.call import Call
from codoperf_otel._calls.cut_off import drop
from codoperf_otel._calls.drive_coroutines import steps
from codoperf_otel._calls.finishers import finisher
from codoperf_otel._calls.methods import has_method
from codoperf_otel._calls.recording import begin, finish
from codoperf_otel._calls.runtime_context import runtime
from codoperf_otel._calls.segments import end
from codoperf_otel._calls.sites import Site
from codoperf_otel._calls.thread_clock import restore, thread
from codoperf_otel._calls.wrapping import Function, like

_PLAIN = frozenset(map(id, (type(None), bool, int, float, str, bytes, list, tuple, dict, set)))
"""The types of what calls mostly return. By identity: a metaclass may fail at being hashed."""


def drive_function(func: Function, site: Site) -> Function:
    threads, otel = thread, runtime
    begin_call, finish_call, end_call, put_back, drop_call = begin, finisher(site), end, restore, drop
    wall_ns, cpu_ns, awaited, type_of, identity, promises, plain, anything = (
        perf_counter_ns, thread_time_ns, _awaited, type, id, has_method, _PLAIN, BaseException,
    )  # fmt: skip
    capture = site.capture

    @like(func)
    def monitored(*args: Any, **kwargs: Any) -> Any:
        clock = threads.clock
        outer = clock.current
        around = otel.get_current()
        call = None
        try:
            try:
                call = begin_call(site, clock, around)
                call.site_for_agent.cell.active.add(call)
                if capture is not None:
                    capture.arguments(call.span, args, kwargs)
                context = call.context
                if context is not None:
                    otel.attach(context)
                # what `enter` and `leave` do, written out: most calls are of this kind
                call.outer = outer = clock.current  # `begin` may have found that a span has left
                now = cpu_ns()
                call.entered_ns = now
                if outer is not None:
                    outer.self_ns += now - clock.since_ns
                clock.since_ns = now
                clock.current = call
                try:
                    result = func(*args, **kwargs)
                finally:
                    now = cpu_ns()
                    inner = clock.current
                    if inner is not None:
                        inner.self_ns += now - clock.since_ns
                    if inner is not call:
                        call.inner = inner
                    clock.current = call.outer
                    clock.since_ns = now
                    call.cpu_ns = now - call.entered_ns
                    if context is not None:
                        otel.attach(around)
                    call.paused_ns = wall_ns()
                kind = type_of(result)
                if identity(kind) not in plain and promises(kind, "__await__"):
                    return awaited(result, call)
                if capture is not None:
                    capture.result(call.span, result)
                finish_call(call, clock)
                return result
            except anything as error:
                end_call(call, clock, error)
                raise
        except anything:
            put_back(clock, outer, around)
            drop_call(call)
            raise

    return monitored


def _awaited(result: Any, call: Call) -> Any:
    """What a plain function returned that is to be awaited: the call lasts until that is done."""
    if inspect.iscoroutine(result):
        waiting: Any = _finish_with(result, call, _Unstarted(result, call))
        waiting.__name__, waiting.__qualname__ = result.__name__, result.__qualname__
        return waiting
    if has_method(type(result), "add_done_callback"):
        result.add_done_callback(_Unfinished(call))
    else:
        finisher(call.site)(call, thread.clock)
    return result


class _Unstarted:
    """Ends the call of a coroutine that is closed or cancelled before its first step."""

    def __init__(self, coroutine: Any, call: Call) -> None:
        self._coroutine = coroutine
        self.call: Call | None = call

    def __del__(self) -> None:
        if self.call is not None:
            self._coroutine.close()
            finish(self.call, thread.clock, GeneratorExit())


async def _finish_with(coroutine: Any, call: Call, unstarted: _Unstarted) -> Any:
    unstarted.call = None
    try:
        try:
            result = await steps(coroutine, call)
            finisher(call.site)(call, thread.clock)
        except BaseException as error:
            end(call, thread.clock, error)
            raise
    except BaseException:
        drop(call)
        raise
    return result


class _Unfinished:
    """Ends the call of a future when that is done, or is let go of before."""

    def __init__(self, call: Call) -> None:
        self._call: Call | None = call

    def __call__(self, future: Any) -> None:
        self._end(_failure_of(future))

    def __del__(self) -> None:
        self._end(GeneratorExit())

    def _end(self, error: BaseException | None) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.paused_ns = perf_counter_ns()
            with suppress(BudgetExceeded):  # who waits for the future has its result
                finisher(call.site)(call, thread.clock, error)


def _failure_of(future: Any) -> BaseException | None:
    """How a future failed. After `exception()` asyncio would not report an error that nobody retrieves."""
    if not future.cancelled():
        return cast("BaseException | None", getattr(future, "_exception", None))
    try:
        future.result()
    except BaseException as cancelled:
        return cancelled
    return None
