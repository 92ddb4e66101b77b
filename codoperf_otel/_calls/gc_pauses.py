"""Pauses by the garbage collector: their durations, and an event on the call that a long one hit.

A collection begins between any two instructions, also where this thread holds a lock of the SDK's. So it is
only noted then. It is recorded later by another thread or when metrics are collected, and the event is added
when the call ends.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Iterable
from time import perf_counter_ns
from typing import Any, NamedTuple

from opentelemetry.metrics import Observation

from codoperf_otel import _forks, _telemetry
from codoperf_otel._calls import late_events
from codoperf_otel._calls.call import Call
from codoperf_otel._calls.context import current_call
from codoperf_otel._calls.recorder import shared
from codoperf_otel._calls.thread_clock import thread
from codoperf_otel._readings import process_metrics, sampler
from codoperf_otel._telemetry import names
from codoperf_otel._telemetry.attribute_sets import Attributes, attribute_set

LONG_NS = 10_000_000
"""A pause of at least this is an event."""

_INTERVAL = 1.0
_MOST_WAITING = 100_000


class Pause(NamedTuple):
    """One collection, and when it ended by ``perf_counter_ns``."""

    generation: int
    duration_ns: int
    ended_ns: int

    def mark(self, call: Call) -> None:
        """Put an event on the span of a call."""
        attributes = {
            names.CPYTHON_GC_GENERATION: self.generation,
            names.GC_PAUSE_DURATION_ATTRIBUTE: self.duration_ns / 1e9,
        }
        _telemetry.add_event(call.span, names.GC_PAUSE_EVENT, attributes, call.epoch_ns + self.ended_ns)


class GcPauses:
    """Notes pauses from `start` to `shutdown`; a part of the pipeline."""

    def __init__(self, clock: Callable[[], int] = perf_counter_ns) -> None:
        self._clock = clock
        self._sets: dict[int, Attributes] = {}
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget what was noted, as a forked child does."""
        self._waiting: deque[Pause] = deque(maxlen=_MOST_WAITING)
        self._began_ns: int | None = None

    def start(self) -> None:
        """Note pauses from now on."""
        if self._noted not in gc.callbacks:
            self._began_ns = None
            gc.callbacks.append(self._noted)
        self.record_pending()  # which makes the histogram
        _telemetry.observe(names.CPYTHON_GC_COLLECTIONS, self._collections)

    def force_flush(self, timeout_millis: int, /) -> bool:  # noqa: ARG002
        """Record what was noted."""
        self.record_pending()
        return True

    def shutdown(self) -> None:
        """Note no more."""
        if self._noted in gc.callbacks:
            gc.callbacks.remove(self._noted)
        self.record_pending()
        sampler.shared.unsubscribe(self.record_pending)

    def _noted(self, phase: str, info: dict[str, Any]) -> None:
        now = self._clock()
        if phase == "start":
            self._began_ns = now
            return
        began_ns, self._began_ns = self._began_ns, None
        if began_ns is None:  # a finalizer has forked or configured meanwhile
            return
        pause = Pause(info["generation"], now - began_ns, now)
        self._waiting.append(pause)
        if pause.duration_ns >= LONG_NS and (call := current_call()) is not None:
            late_events.add(call, pause.mark)

    def _collections(self) -> Iterable[Observation]:
        """The source of the count of collections, which also brings the durations up to date.

        It runs under a lock of the SDK's that whoever makes an instrument waits for. So it makes none.
        """
        if self._noted in gc.callbacks:  # from then on, so that not too many wait for the next collection
            sampler.shared.subscribe(self.record_pending, _INTERVAL)
        if names.GC_PAUSE_DURATION in _telemetry.active().instruments.histograms:
            self.record_pending()
        return process_metrics.SOURCES[names.CPYTHON_GC_COLLECTIONS]()

    def record_pending(self, _: int = 0) -> None:
        """Record the durations of the pauses noted so far."""
        histogram = _telemetry.active().instruments.histograms[names.GC_PAUSE_DURATION]
        for _ in range(len(self._waiting)):
            try:
                pause = self._waiting.popleft()
            except IndexError:  # another thread is at it too
                return
            attributes = self._attributes(pause.generation)
            shared.record(thread.clock, histogram, pause.duration_ns / 1e9, attributes)

    def _attributes(self, generation: int) -> Attributes:
        if generation not in self._sets:
            self._sets[generation] = attribute_set({names.CPYTHON_GC_GENERATION: generation})
        return self._sets[generation]


pauses = GcPauses()
"""Those of this process."""


_forks.in_child(pauses.begin_anew)
