"""Drives generators.

A wrapper names nothing but what is local to the function that makes it (see `like`), so these begin
with local names for what they use. What goes through one is not kept there: see
`codoperf_otel._calls.drive_coroutines`.
"""

from __future__ import annotations

import types
from collections.abc import Generator
from time import perf_counter_ns, thread_time_ns
from typing import Any, cast

from codoperf_otel._calls.cut_off import drop
from codoperf_otel._calls.finishers import finisher
from codoperf_otel._calls.recording import begin
from codoperf_otel._calls.runtime_context import runtime
from codoperf_otel._calls.segments import end
from codoperf_otel._calls.sites import Site
from codoperf_otel._calls.thread_clock import restore, thread
from codoperf_otel._calls.wrapping import Function, like


def drive_generator_function(func: Function, site: Site) -> Function:
    threads, otel, anything, stopped = thread, runtime, BaseException, StopIteration
    begin_call, finish_call, end_call, drop_call = begin, finisher(site), end, drop
    put_back, wall_ns, cpu_ns = restore, perf_counter_ns, thread_time_ns
    closed, is_a = GeneratorExit, isinstance
    capture = site.capture

    @like(func)
    def monitored(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        generator = func(*args, **kwargs)
        call = None
        try:
            try:
                call = begin_call(site, threads.clock, otel.get_current())
                call.site_for_agent.cell.active.add(call)
                if capture is not None:
                    capture.arguments(call.span, args, kwargs)
                del args, kwargs
                send = generator.send
                step, value, is_closed = send, None, False
                while True:
                    clock = threads.clock
                    outer = clock.current
                    around = otel.get_current()
                    try:
                        # `enter` and `leave`, written out
                        if call.paused_ns:
                            call.suspended_ns += wall_ns() - call.paused_ns
                        context = call.context
                        if context is not None:
                            otel.attach(context)
                        call.outer = outer
                        now = cpu_ns()
                        call.entered_ns = now
                        if outer is not None:
                            outer.self_ns += now - clock.since_ns
                        clock.since_ns = now
                        clock.current = call.inner or call
                        try:
                            item = step(value)
                        finally:
                            now = cpu_ns()
                            inner = clock.current
                            if inner is not None:
                                inner.self_ns += now - clock.since_ns
                            clock.current = call.outer
                            clock.since_ns = now
                            call.cpu_ns += now - call.entered_ns  # type: ignore[operator]
                            call.inner = inner if inner is not call else None
                            call.outer = None
                            if context is not None:
                                call.context = otel.get_current()
                                otel.attach(around)
                            call.paused_ns = wall_ns()
                    except stopped as stop:
                        finish_call(call, threads.clock)
                        return stop.value
                    except anything:
                        put_back(clock, outer, around)
                        raise
                    finally:
                        value = None
                    call.yielded += 1
                    if is_closed:  # it yields all the same, and nobody may come again
                        end_call(call, threads.clock, closed())
                    try:
                        value = yield (item, item := None)[0]
                        step = send
                    except anything as thrown:
                        step, value, is_closed = generator.throw, thrown, is_a(thrown, closed)
            except anything as error:
                end_call(call, threads.clock, error)
                raise
        except anything:
            drop_call(call)
            raise

    return monitored


def drive_coroutine_of_generator_function(func: Function, site: Site) -> Function:
    """What `types.coroutine` made of a generator function: its wrapper has to be made the same."""
    return cast("Function", types.coroutine(drive_generator_function(func, site)))
