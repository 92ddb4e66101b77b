"""What another thread runs for a call: in the call's Context, and charged to the call."""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import perf_counter_ns
from typing import ParamSpec, TypeVar

from opentelemetry.context import Context

from codoperf_otel._calls import greenlets
from codoperf_otel._calls.call import Call
from codoperf_otel._calls.charged import ThreadShare, is_within, still_charged
from codoperf_otel._calls.foreign_spans import unwind
from codoperf_otel._calls.runtime_context import runtime
from codoperf_otel._calls.shares import prepare
from codoperf_otel._calls.tasks import running_task
from codoperf_otel._calls.thread_clock import thread

P = ParamSpec("P")
R = TypeVar("R")

_modules = sys.modules


def run_lent(
    call: Call | None, context: Context, func: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
) -> R:
    """Run `func` in a Context, for the call that the Context carries, which was prepared for it."""
    clock = thread.clock
    outer = clock.current
    around = runtime.get_current()
    share = None
    try:
        runtime.attach(context)
        if call is not None and not is_within(outer, call):
            started = perf_counter_ns()
            if "greenlet" in _modules:
                greenlets.follow(started)
            share = ThreadShare(call, outer, started, running_task())
            clock.charge_to(None)
            share.entered_ns = clock.since_ns
            clock.current = share
        return func(*args, **kwargs)
    finally:
        if share is not None:
            unwind(clock.charge_to(still_charged(outer)), share)
            share.cpu_ns = clock.since_ns - share.entered_ns
            share.let_go()
            if call is not None and call.shares is not None and greenlets.is_own(share):
                call.shares.add(call, share.self_ns, share.cpu_ns)
        runtime.attach(around)
        del call, context, around  # whoever keeps an exception keeps this frame


def complete(call: Call) -> int | None:
    """At the end of a call, add to its CPU time what other threads, and spans still open, had of it.

    Returns what its own thread had.
    """
    if call.inner is not None:
        prepare(call, is_ending=True)
        unwind(call.inner, call)
        call.inner = None
    if not greenlets.is_own(call):
        call.cpu_ns, call.self_ns = None, 0
    cpu_ns = call.cpu_ns
    if call.shares is not None:
        call.shares.close(call)
    return cpu_ns
