"""The memory high-water mark where it cannot be reset."""

from __future__ import annotations

from threading import RLock
from time import process_time

from codoperf_otel._readings import memory, sampler
from codoperf_otel._readings.marks import MarkReading, Marks, Opening, OpenWindow, OpenWindows, Source
from codoperf_otel._telemetry import names

INTERVAL = 0.01
"""Seconds between samples; they take 1 % of a CPU while a window is open."""


class SampledMark:
    """The highest memory of what is sampled, and the kernel's own mark where it rose in the window."""

    def __init__(self) -> None:
        # reentrant: a signal handler may open a window while this thread does
        self._lock = RLock()
        self._open = OpenWindows()
        self._mark = 0
        self._begin()

    def _begin(self) -> None:
        self._marks = Marks()
        self._rose = 0

    def open(self) -> Opening | None:
        """Begin a window, open while somebody has its token; None where memory cannot be read."""
        start = memory.rss()
        if start is None:
            return None
        with self._lock:
            if not self._open:
                self._begin()
            self._note_rise()
            token = self._open.token()
            sampler.shared.subscribe(self._sample, INTERVAL)
            return token, self._marks.noted, start, process_time()

    def read(self, moment: int, closing: OpenWindow | None) -> MarkReading:
        """The figures now and since the window's beginning; `closing` is the window at its end, else None."""
        now = memory.rss()
        with self._lock:
            if closing is not None:
                closing.token = None
            self._note_rise()
            source: Source = names.KERNEL if self._rose > moment else names.SAMPLED
            return now, self._marks.since(moment), source, process_time()

    def _note_rise(self) -> None:
        mark = memory.own_mark() or 0
        if mark > self._mark:
            self._mark = mark
            self._marks.note(mark)
            self._rose = self._marks.noted

    def _sample(self, _: int) -> None:
        with self._lock:
            if self._open:
                self._marks.note(memory.rss() or 0)
            else:  # not at the last window's end: many short ones would start a thread each
                sampler.shared.unsubscribe(self._sample)
