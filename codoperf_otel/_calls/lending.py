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
from codoperf_otel._calls.shares import Lender, lender_of, prepare
from codoperf_otel._calls.tasks import running_task
from codoperf_otel._calls.thread_clock import ThreadClock, restore, thread

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
        try:
            runtime.attach(context)
            if lender is not None and (outer is None or not is_within(outer, lender)):
                started = perf_counter_ns()
                if "greenlet" in _modules:
                    greenlets.follow(started)
                share = ThreadShare(lender, outer, started, running_task())
                clock.charge_to(None)
                share.entered_ns = clock.since_ns
                share.is_open = True
                clock.current = share
            return func(*args, **kwargs)
        finally:
            if lender is not None and share is not None:
                _end(share, lender, clock)
            elif clock.current is not outer:
                _take_off(outer, clock)
            runtime.attach(around)
    except BaseException:  # it may be of a signal handler, in the midst of what stands above
        if lender is not None and share is not None:
            _end(share, lender, clock)
        restore(clock, outer, around)
        raise
    finally:
        del lender, context, around, outer, share  # whoever keeps an exception keeps this frame


def _take_off(outer: Charged | None, clock: ThreadClock) -> None:
    """Let nothing that was left open be charged with what this thread does next."""
    outer = still_charged(outer)
    unwind(clock.charge_to(outer), outer)


def _end(share: ThreadShare, lender: Lender, clock: ThreadClock) -> None:
    """End a share, and give it to its lender, once."""
    if share.is_open:
        inner = clock.charge_to(still_charged(share.outer))
        if inner is not share:
            unwind(inner, share)
        _give(share, clock.since_ns - share.entered_ns, lender, clock.current)


def _give(share: ThreadShare, cpu_ns: int, lender: Lender, outer: Charged | None) -> None:
    """Give a share that has ended to its lender, or where that has left meanwhile, to who was charged before.

    That one may have it in its CPU time already.
    """
    taker = lender_of(lender) if lender.is_foreign else lender
    if taker is not None and greenlets.is_own(share):
        if taker is not lender and outer is not None and is_within(outer, taker):
            share.is_open = False
            outer.self_ns += share.self_ns
        else:
            shares = taker.shares or prepare(taker)
            share.is_open = False  # next to `add`, and so neither lost nor given twice
            shares.add((share.self_ns, cpu_ns))
            shares.settle(taker)
    share.let_go(taker)


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
