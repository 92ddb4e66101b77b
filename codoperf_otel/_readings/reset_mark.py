"""The memory high-water mark where it can be reset."""

from __future__ import annotations

import os
import sys
from threading import RLock

from codoperf_otel._readings import memory
from codoperf_otel._readings.kept_file import KeptFile
from codoperf_otel._readings.marks import MarkReading, Marks, Opening, OpenWindow, OpenWindows
from codoperf_otel._telemetry import names

if sys.platform != "win32":
    from resource import RUSAGE_SELF, getrusage, struct_rusage

_RESET = b"5"

_clear_refs = KeptFile("/proc/self/clear_refs", os.O_WRONLY)

PATIENCE = 0.1
"""Seconds that an observer waits for the mark."""


class ResetMark:
    """The mark where it can be reset: the peak of every window is known."""

    def __init__(self) -> None:
        # reentrant: a signal handler may open a window while this thread does
        self._lock = RLock()
        self._marks = Marks()
        self._open = OpenWindows()
        os.write(_clear_refs.descriptor(), _RESET)
        # `ru_maxrss` begins with the peak of the program that became this one by exec, and never falls below
        # it. So it is our own mark only while it is above the lowest value that was ever seen.
        self._lowest = getrusage(RUSAGE_SELF).ru_maxrss
        # memory grows by page faults only: until there is another one, the mark is not above `_known`
        self._known = self._faults = -1

    def open(self) -> Opening | None:
        """Begin a window, open while somebody has its token; None where memory cannot be read.

        Raises OSError.
        """
        usage = getrusage(RUSAGE_SELF)  # before the memory: what grows in between is one fault more
        start = memory.rss()
        if start is None:
            return None
        faults = usage.ru_minflt + usage.ru_majflt
        with self._lock:
            if faults != self._faults or self._known > start:
                self._reset(start)
                self._known, self._faults = start, faults
            elif start > self._known:
                self._see(start)
            return self._open.token(), self._marks.noted, start, usage.ru_utime + usage.ru_stime

    def _see(self, seen: int) -> None:
        """Let open windows know of memory above the mark: the kernel rounds the two differently."""
        if self._open:
            self._marks.note(seen)

    def _reset(self, seen: int) -> None:
        if self._open:
            self._highest(getrusage(RUSAGE_SELF))  # what this reads from a file is known below
        descriptor = _clear_refs.descriptor()
        if self._open:  # next to the reset: no other thread's memory may rise and fall in between
            self._marks.note(max(seen, self._highest(getrusage(RUSAGE_SELF))))
        else:
            self._marks = Marks()
        os.write(descriptor, _RESET)

    def read(self, moment: int, closing: OpenWindow | None) -> MarkReading:
        """The figures now and since the window's beginning; `closing` is the window at its end, else None.

        Raises OSError.
        """
        usage = getrusage(RUSAGE_SELF)
        now = memory.rss()
        if closing is None:  # who observes must not wait for a signal handler that waits for it
            if not self._lock.acquire(timeout=PATIENCE):
                raise OSError("the memory mark is in use")
            self._lock.release()
        with self._lock:
            if closing is not None:
                closing.token = None
            highest = self._highest(usage)
            if now is not None and now > highest:
                self._see(now)
                highest = now
            if self._marks.noted > moment:
                highest = max(highest, self._marks.since(moment))
        return now, highest, names.KERNEL, usage.ru_utime + usage.ru_stime

    def _highest(self, usage: struct_rusage) -> int:
        """The mark, or what it is known not to be above."""
        max_rss = usage.ru_maxrss
        if max_rss > self._lowest:
            return max_rss * memory.KIB
        self._lowest = max_rss
        faults = usage.ru_minflt + usage.ru_majflt
        if faults != self._faults:
            self._known, self._faults = memory.high_water_mark(), faults
        return self._known
