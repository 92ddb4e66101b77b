"""What another thread runs for a call: in the call's Context, and charged to the call."""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import perf_counter_ns
from typing import ParamSpec, TypeVar

from opentelemetry.context import Context

from codoperf_otel._calls import greenlets
from codoperf_otel._calls.call import Call
from codoperf_otel._calls.charged import Charged, ThreadShare, is_within, still_charged
from codoperf_otel._calls.foreign_spans import unwind
from codoperf_otel._calls.runtime_context import runtime
from codoperf_otel._calls.shares import Lender, add_to, lender_of, prepare
from codoperf_otel._calls.tasks import running_task
from codoperf_otel._calls.thread_clock import thread

P = ParamSpec("P")
R = TypeVar("R")

_modules = sys.modules


def run_lent(
    lender: Lender | None, context: Context, func: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
) -> R:
    """Run `func` in a Context, for the call or span in force there, which was prepared for it."""
    clock = thread.clock
    outer = clock.current
    around = runtime.get_current()
    share = None
    try:
        runtime.attach(context)
        if lender is not None and (outer is None or not is_within(outer, lender)):
            started = perf_counter_ns()
            if "greenlet" in _modules:
                greenlets.follow(started)
            share = ThreadShare(lender, outer, started, running_task())
            clock.charge_to(None)
            share.entered_ns = clock.since_ns
            clock.current = share
        return func(*args, **kwargs)
    finally:
        if lender is not None and share is not None:
            inner = clock.charge_to(still_charged(outer))
            if inner is not share:
                unwind(inner, share)
            _give(share, clock.since_ns - share.entered_ns, lender, clock.current)
        runtime.attach(around)
        del lender, context, around  # whoever keeps an exception keeps this frame


def _give(share: ThreadShare, cpu_ns: int, lender: Lender, outer: Charged | None) -> None:
    """Give a share that has ended to its lender, or where that has left meanwhile, to who was charged before.

    That one may have it in its CPU time already.
    """
    taker = lender_of(lender) if lender.is_foreign else lender
    share.let_go(taker)
    if taker is None or not greenlets.is_own(share):
        return
    if taker is not lender and outer is not None and is_within(outer, taker):
        outer.self_ns += share.self_ns
    else:
        add_to(taker, share.self_ns, cpu_ns)


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
    call.gather_shares()
    return cpu_ns
