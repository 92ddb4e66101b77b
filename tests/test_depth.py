"""Recursion: what a monitored call adds to the stack, and how deep it goes under the default limit.

Each is run in a thread of its own: the frames of the test runner do not count there.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable

from codoperf_otel.performance_monitor import monitor_performance

FUNCTIONS_DEEP = 450
COROUTINES_DEEP = 240 if sys.version_info < (3, 12) else 320


def in_a_new_thread(run: Callable[[], object]) -> object:
    """The result of `run` on an empty stack under the default limit."""
    results: list[object] = []
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    try:
        thread = threading.Thread(target=lambda: results.append(run()))
        thread.start()
        thread.join()
    finally:
        sys.setrecursionlimit(before)
    (result,) = results
    return result


def frames() -> int:
    """How many Python frames are on the caller's stack."""
    frame, count = sys._getframe(1), 0
    while frame is not None:
        frame, count = frame.f_back, count + 1
    return count


def plain(func: Callable[..., object]) -> Callable[..., object]:
    """No decorator."""
    return func


def function_frames(decorate: Callable[..., Callable[..., object]], depth: int) -> object:
    """The frames at the bottom of that many calls in calls."""

    def down(left):
        return down(left - 1) if left else frames()

    down = decorate(down)
    return in_a_new_thread(lambda: down(depth - 1))


def coroutine_frames(decorate: Callable[..., Callable[..., object]], depth: int) -> object:
    """The frames at the bottom of that many awaited calls, before and after a suspension there."""

    async def down(left):
        if left:
            return await down(left - 1)
        before = frames()
        await asyncio.sleep(0)
        return before, frames()

    down = decorate(down)
    return in_a_new_thread(lambda: asyncio.run(down(depth - 1)))


def test_a_function_adds_one_frame(telemetry):
    """A monitored function has exactly one more frame on the stack than a plain one."""
    assert function_frames(monitor_performance, 10) == function_frames(plain, 10) + 10


def test_functions_recurse_450_deep(telemetry):
    """Monitored functions recurse as deep as the limit allows at two frames each."""
    assert function_frames(monitor_performance, FUNCTIONS_DEEP) > 2 * FUNCTIONS_DEEP
    assert len(telemetry.spans()) == FUNCTIONS_DEEP


def test_a_coroutine_adds_at_most_two_frames(telemetry):
    """A monitored coroutine has at most two more frames, when it first runs and when it is resumed."""
    monitored, undecorated = coroutine_frames(monitor_performance, 10), coroutine_frames(plain, 10)
    assert all(0 < more - less <= 20 for more, less in zip(monitored, undecorated, strict=True))


def test_coroutines_recurse_as_deep_as_they_should(telemetry):
    """Monitored coroutines await each other deeply with a suspension at the bottom."""
    assert coroutine_frames(monitor_performance, COROUTINES_DEEP)
    assert len(telemetry.spans()) == COROUTINES_DEEP
