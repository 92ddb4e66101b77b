"""Drives coroutines and async generators.

A wrapper names nothing but what is local to the function that makes it (see `like`), so these begin
with local names for what they use. What goes through one is not kept there: whoever lets go of an argument
or of an item is the last to have it, and an exception of an awaited future would be in a cycle with it.
Hence ``(item, item := None)[0]``, which no longer has the item when it is yielded.
"""

from __future__ import annotations

import sys
import types
from collections.abc import AsyncGenerator, Generator
from time import perf_counter_ns, thread_time_ns
from typing import Any

from codoperf_otel._calls.call import Call
from codoperf_otel._calls.cut_off import drop
from codoperf_otel._calls.finishers import finisher
from codoperf_otel._calls.recording import begin
from codoperf_otel._calls.runtime_context import runtime
from codoperf_otel._calls.segments import close_unstarted, end, enter, leave
from codoperf_otel._calls.sites import Site
from codoperf_otel._calls.thread_clock import restore, thread
from codoperf_otel._calls.wrapping import Function, like


@types.coroutine
def steps(awaitable: Any, call: Call) -> Generator[Any, Any, Any]:
    """Drive an awaitable, each of its steps in a segment of the call."""
    step, value = awaitable.send, None
    while True:
        clock = thread.clock
        outer = clock.current
        around = runtime.get_current()
        try:
            # `enter` and `leave`, written out
            if call.paused_ns:
                call.suspended_ns += perf_counter_ns() - call.paused_ns
            context = call.context
            if context is not None:
                runtime.attach(context)
            call.outer = outer
            now = thread_time_ns()
            call.entered_ns = now
            if outer is not None:
                outer.self_ns += now - clock.since_ns
            clock.since_ns = now
            clock.current = call.inner or call
            try:
                item = step(value)
            finally:
                now = thread_time_ns()
                inner = clock.current
                if inner is not None:
                    inner.self_ns += now - clock.since_ns
                clock.current = call.outer
                clock.since_ns = now
                call.cpu_ns += now - call.entered_ns  # type: ignore[operator]
                call.inner = inner if inner is not call else None
                call.outer = None
                if context is not None:
                    call.context = runtime.get_current()
                    runtime.attach(around)
                call.paused_ns = perf_counter_ns()
        except StopIteration as stop:
            return stop.value
        except BaseException:
            restore(clock, outer, around)
            awaitable = step = None  # what was thrown into it is held by it, and holds this frame
            raise
        finally:
            value = None  # a thrown exception that is kept here would keep this frame
        try:
            value = yield (item, item := None)[0]
            step = awaitable.send
        except BaseException as thrown:
            step, value = awaitable.throw, thrown


@types.coroutine
def further_steps_of(awaitable: Any, call: Call, item: Any) -> Generator[Any, Any, Any]:
    """Drive an awaitable of which the first step has run and yielded `item`."""
    while True:
        try:
            value = yield (item, item := None)[0]
            step = awaitable.send
        except BaseException as thrown:
            step, value = awaitable.throw, thrown
        clock = thread.clock
        outer = clock.current
        around = runtime.get_current()
        try:
            enter(call, clock)
            try:
                item = step(value)
            finally:
                leave(call, clock, around)
        except StopIteration as stop:
            return stop.value
        except BaseException:
            restore(clock, outer, around)
            raise
        finally:
            value = None


def drive_coroutine_function(func: Function, site: Site) -> Function:
    threads, otel, anything, stopped = thread, runtime, BaseException, StopIteration
    begin_call, finish_call, end_call, drop_call = begin, finisher(site), end, drop
    enter_call, leave_call, put_back, further_steps = enter, leave, restore, further_steps_of
    close = close_unstarted
    capture = site.capture

    @like(func)
    async def monitored(*args: Any, **kwargs: Any) -> Any:
        clock = threads.clock
        outer = clock.current
        around = otel.get_current()
        call = None
        coroutine = func(*args, **kwargs)
        try:
            try:
                call = begin_call(site, clock, around)
                call.site_for_agent.cell.active.add(call)
                if capture is not None:
                    capture.arguments(call.span, args, kwargs)
                del args, kwargs
                try:
                    enter_call(call, clock)
                    try:
                        item = coroutine.send(None)
                    finally:
                        leave_call(call, clock, around)
                except stopped as stop:
                    result = stop.value
                except anything:
                    put_back(clock, outer, around)
                    raise
                else:
                    result = await further_steps(coroutine, call, (item, item := None)[0])
                if capture is not None:
                    capture.result(call.span, result)
                finish_call(call, threads.clock)
                return result
            except anything as error:
                end_call(call, threads.clock, error)
                raise
        except anything:
            drop_call(call)
            close(coroutine)
            raise

    return monitored


def drive_async_generator_function(func: Function, site: Site) -> Function:
    threads, otel, anything, stopped = thread, runtime, BaseException, StopAsyncIteration
    begin_call, finish_call, end_call, drop_call = begin, finisher(site), end, drop
    each_step, first_step = steps, _first_step
    closed, is_a = GeneratorExit, isinstance
    capture = site.capture

    @like(func)
    async def monitored(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        generator = func(*args, **kwargs)
        call = None
        try:
            try:
                call = begin_call(site, threads.clock, otel.get_current())
                call.site_for_agent.cell.active.add(call)
                if capture is not None:
                    capture.arguments(call.span, args, kwargs)
                del args, kwargs
                awaitable, is_closed = first_step(generator), False
                while True:
                    stepping: Any = each_step(awaitable, call)
                    awaitable = None
                    try:
                        item = await stepping
                    except stopped:
                        finish_call(call, threads.clock)
                        return
                    finally:
                        stepping = None
                    call.yielded += 1
                    if is_closed:  # it yields all the same, and nobody may come again
                        end_call(call, threads.clock, closed())
                    try:
                        value = yield (item, item := None)[0]
                        awaitable = generator.asend(value)
                    except anything as thrown:
                        awaitable, is_closed = generator.athrow(thrown), is_a(thrown, closed)
            except anything as error:
                end_call(call, threads.clock, error)
                raise
        except anything:
            drop_call(call)
            raise

    return monitored


def _first_step(generator: AsyncGenerator[Any, Any]) -> Any:
    """Start an async generator unknown to the event loop, which closes the one around it instead."""
    hooks = sys.get_asyncgen_hooks()
    try:
        sys.set_asyncgen_hooks(None, None)
        return generator.asend(None)
    finally:
        sys.set_asyncgen_hooks(*hooks)
