"""Segments: what runs of a call between two suspensions. A function has one.

The Context is attached and the thread's clock is taken within a segment only, so nothing of a suspended
call is left where others run. An exception of a signal handler may come between any two lines. Therefore
whoever runs a segment

- reads what is current, the charged one and the Context, before its ``try``;
- puts it back by value, not by a token that may not exist yet, when the segment is left;
- and puts it back once more where an exception leaves the ``try``, as it may have come in the midst of the
  first time.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import Any

from opentelemetry.context import Context

from codoperf_otel._calls.call import Call
from codoperf_otel._calls.finishers import finisher
from codoperf_otel._calls.runtime_context import runtime
from codoperf_otel._calls.thread_clock import ThreadClock


def enter(call: Call, clock: ThreadClock) -> None:
    """Begin a segment: what ran at the last suspension runs again."""
    if call.paused_ns:
        call.suspended_ns += perf_counter_ns() - call.paused_ns
    if call.context is not None:
        runtime.attach(call.context)
    call.outer = clock.charge_to(None)
    call.entered_ns = clock.since_ns
    clock.current = call.inner or call


def leave(call: Call, clock: ThreadClock, around: Context) -> None:
    """End a segment: a span that the code holds open now is current again in the next one."""
    inner = clock.charge_to(call.outer)
    call.cpu_ns += clock.since_ns - call.entered_ns  # type: ignore[operator]  # a driven call always has a clock
    call.inner = inner if inner is not call else None
    call.outer = None
    if call.context is not None:
        call.context = runtime.get_current()
        runtime.attach(around)
    call.paused_ns = perf_counter_ns()


def close_unstarted(coroutine: Any) -> None:
    """Close a coroutine if it was never started, as where a budget is used up: Python warns of others."""
    if not getattr(coroutine, "cr_suspended", True):
        coroutine.close()


def end(call: Call | None, clock: ThreadClock, error: BaseException) -> None:
    """End a call, if it has begun, that an exception has left."""
    if call is not None:
        if not call.paused_ns:
            call.paused_ns = perf_counter_ns()
        finisher(call.site)(call, clock, error)
