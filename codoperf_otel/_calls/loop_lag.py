"""How late asyncio's loops are, and what blocked one for long.

The sampler asks each running loop for a sign of life. How long that takes is the lag. Where a loop has not
answered for the threshold, the sampler notes which call runs on its thread, and the stack.
"""

from __future__ import annotations

import asyncio
import functools
import sys
import traceback
from collections.abc import Callable, Iterator
from threading import get_ident
from time import perf_counter_ns
from types import FrameType
from typing import Any

from codoperf_otel import _telemetry
from codoperf_otel._calls import late_events
from codoperf_otel._calls.call import Call
from codoperf_otel._calls.charged import below_spans
from codoperf_otel._calls.recorder import shared
from codoperf_otel._calls.thread_clock import thread
from codoperf_otel._patching.replacing import Replacement, restore
from codoperf_otel._readings import sampler
from codoperf_otel._telemetry import names
from codoperf_otel._telemetry.attribute_sets import Attributes

ASKED_PER_THRESHOLD = 2
"""How often a loop is asked in that time: what blocks it for 1.5 times the threshold is always seen."""


class LoopWatch:
    """Watches one loop; made on the thread on which that runs. The sampler calls it."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, threshold: float, clock: Callable[[], int] = perf_counter_ns
    ) -> None:
        self._loop = loop
        self._threshold_ns = int(threshold * 1e9)
        self._clock = clock
        self._thread = get_ident()
        self._thread_clock = thread.clock
        self._asked_ns: int | None = None
        self._seen: object = None
        self._blocking: list[Call] = []

    def __call__(self, _: int = 0) -> None:
        """Ask the loop for a sign of life, or look at what it does instead of giving one."""
        if self._loop.is_closed():
            sampler.shared.unsubscribe(self)
        elif self._asked_ns is None:
            self._asked_ns, self._seen = self._clock(), below_spans(self._thread_clock.current)
            self._loop.call_soon_threadsafe(self._answer)
        else:
            self._look(self._asked_ns)

    def _look(self, asked_ns: int) -> None:
        """Note the call that runs where the loop is late, if it also ran at the sample before."""
        running, before = below_spans(self._thread_clock.current), self._seen
        self._seen = running
        if self._clock() - asked_ns < self._threshold_ns or running is not before:
            return
        if isinstance(running, Call) and running not in self._blocking:
            stack = "".join(_stack(self._thread).format())
            self._blocking.append(running)
            late_events.add(running, functools.partial(self._write, asked_ns, stack))

    def _write(self, asked_ns: int, stack: str, call: Call) -> None:
        attributes: Attributes = {
            names.EVENT_LOOP_LAG_ATTRIBUTE: (self._clock() - asked_ns) / 1e9,
            names.CODE_STACKTRACE: stack,
        }
        _telemetry.add_event(call.span, names.EVENT_LOOP_BLOCKED_EVENT, attributes)

    def _answer(self) -> None:
        asked_ns, self._asked_ns = self._asked_ns, None
        if asked_ns is None:
            return
        seconds = (self._clock() - asked_ns) / 1e9
        histogram = _telemetry.active().instruments.histograms[names.EVENT_LOOP_LAG]
        shared.record(thread.clock, histogram, seconds, {})
        blocking, self._blocking = self._blocking, []
        for call in blocking:
            late_events.mark(call)


class LoopWatches:
    """Watches every loop of asyncio's own that runs from `start` to `shutdown`; a part of the pipeline."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._watches: list[LoopWatch] = []
        original = asyncio.BaseEventLoop.run_forever

        @functools.wraps(original)
        def run_forever(loop: asyncio.BaseEventLoop) -> None:
            watch = self._watch(loop)
            try:
                original(loop)
            finally:
                sampler.shared.unsubscribe(watch)
                self._watches.remove(watch)

        self._replaced = [Replacement(asyncio.BaseEventLoop, "run_forever", original, run_forever)]

    def start(self) -> None:
        """Watch the loop that runs here, and those that begin to run."""
        for replaced in self._replaced:
            replaced.put(replaced.replacement)
        running: Any = asyncio._get_running_loop()
        if running is not None:
            self._watch(running)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> LoopWatch:
        watch = LoopWatch(loop, self._threshold)
        self._watches.append(watch)
        sampler.shared.subscribe(watch, self._threshold / ASKED_PER_THRESHOLD)
        return watch

    def force_flush(self, timeout_millis: int, /) -> bool:  # noqa: ARG002
        """Nothing is held back."""
        return True

    def shutdown(self) -> None:
        """Watch no loop."""
        restore(self._replaced)
        for watch in list(self._watches):
            sampler.shared.unsubscribe(watch)


def _stack(thread: int) -> traceback.StackSummary:
    """What a thread does. No source is read while its frames are held: what it lets go of would stay."""
    stack = traceback.StackSummary.extract(_walk(thread), lookup_lines=False)
    stack.reverse()
    return stack


def _walk(thread: int) -> Iterator[tuple[FrameType, int]]:
    frame = sys._current_frames().get(thread)
    while frame is not None:
        yield frame, frame.f_lineno
        frame = frame.f_back
