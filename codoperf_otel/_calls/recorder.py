"""Durations on their way into an SDK's histogram, on which threads need not wait for each other."""

from __future__ import annotations

from collections import deque

from opentelemetry.context import Context
from opentelemetry.metrics import Histogram
from opentelemetry.trace import INVALID_SPAN_CONTEXT, NonRecordingSpan, set_span_in_context

from codoperf_otel import _forks
from codoperf_otel._calls.foreign_code import failed
from codoperf_otel._calls.thread_clock import ThreadClock, thread
from codoperf_otel._telemetry.attribute_sets import Attributes

HELPED = 1
"""Waiting durations that one call records at most beside its own."""

MOST_WAITING = 1000
"""Durations that may wait for another thread; where there are more, each thread records its own."""

NO_EXEMPLAR = set_span_in_context(NonRecordingSpan(INVALID_SPAN_CONTEXT), Context())
"""The Context of a duration without exemplar. For `INVALID_SPAN` the SDK would take the current span."""

Duration = tuple[Histogram, float, Attributes, Context | None]
"""A histogram, seconds, attributes, and the Context of an exemplar's span; None is the current one."""


class DurationRecorder:
    """Records the durations of one cell by flat combining.

    The SDK's histogram has one lock, on which threads would queue. Instead, the thread that is at it also
    records what others leave meanwhile. A thread that is inside foreign code leaves its durations as well:
    it may be the one that holds the SDK's lock.
    """

    __slots__ = ("_at_it", "_waiting")

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """Begin anew, as a forked child does."""
        self._waiting: deque[Duration] = deque()
        self._at_it: dict[None, ThreadClock] = {}

    def record(
        self,
        clock: ThreadClock,
        histogram: Histogram,
        seconds: float,
        attributes: Attributes,
        context: Context | None = None,
    ) -> None:
        """Record a duration, or leave it to the thread that is recording."""
        waiting = self._waiting
        if clock.busy or (
            self._at_it.setdefault(None, clock) is not clock and len(waiting) < MOST_WAITING
        ):  # of threads that come at once, one is first
            waiting.append((histogram, seconds, attributes, context))
            return
        clock.busy = 1
        try:
            histogram.record(seconds, attributes, context)
            if waiting:
                self._record_waiting(HELPED)
        except Exception as error:
            failed("a duration cannot be recorded", error)
        finally:
            clock.busy = 0
            if self._at_it.get(None) is clock:
                self._at_it.clear()

    def record_pending(self) -> None:
        """Record what is waiting."""
        clock = thread.clock
        if not self._waiting or clock.busy:
            return
        clock.busy = 1
        try:
            self._record_waiting(len(self._waiting))
        except Exception as error:
            failed("a duration cannot be recorded", error)
        finally:
            clock.busy = 0

    def _record_waiting(self, most: int) -> None:
        for _ in range(most):
            try:
                histogram, seconds, attributes, context = self._waiting.popleft()
            except IndexError:
                return
            histogram.record(seconds, attributes, context)


shared = DurationRecorder()
"""Records the durations that belong to no cell: of cache loads and lazy loads."""


@_forks.in_child
def _forked() -> None:
    shared.begin_anew()
