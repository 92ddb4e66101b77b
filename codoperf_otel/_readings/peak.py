"""The owner of the process's memory high-water mark: the peak of any window of time, exact on Linux.

The kernel keeps one mark a process. A window that opens resets it, after the windows already open have
noted what it was. Windows may overlap in any order, in any thread.
"""

from __future__ import annotations

import logging
import os
import sys
from bisect import bisect_left
from threading import Lock, RLock
from typing import TYPE_CHECKING, Literal, NamedTuple

from codoperf_otel import _context
from codoperf_otel._readings import memory
from codoperf_otel._readings.kept_file import KeptFile

if sys.platform != "win32":
    from resource import RUSAGE_SELF, getrusage, struct_rusage

if TYPE_CHECKING:
    from codoperf_otel._readings.sampled_mark import SampledMark

log = logging.getLogger("codoperf_otel.readings")

Source = Literal["kernel", "sampled"]

SETTING = "CODOPERF_OTEL_CLEAR_REFS"

Reading = tuple[int | None, int, Source, float]
"""Resident memory, its highest value and how that is known; CPU time of the process, in seconds."""

_RESET = b"5"
_KIB = 1024
_UNREADABLE = (OSError, ValueError, IndexError, AttributeError)

_clear_refs = KeptFile("/proc/self/clear_refs", os.O_WRONLY)
_status = KeptFile("/proc/self/status")


class Peak(NamedTuple):
    """Resident memory at the start and the end of a window and its highest value between, in bytes.

    ``peak`` and ``source`` are None for a window that a forked child has from its parent.
    """

    start: int
    end: int | None
    peak: int | None
    source: Source | None


class Marks:
    """The highest of the marks noted since any earlier moment, in memory that does not grow with them.

    >>> marks = Marks()
    >>> for mark in (7, 3, 5):
    ...     marks.note(mark)
    >>> marks.since(0), marks.since(1), marks.since(3)
    (7, 5, 0)
    """

    def __init__(self) -> None:
        self.noted = 0
        # a mark is kept while it is above all later ones: the first one kept since a moment is the highest
        self._moments: list[int] = []
        self._highest: list[int] = []

    def note(self, mark: int) -> None:
        """Note the highest value between the note before and this one."""
        while self._highest and self._highest[-1] <= mark:
            self._highest.pop()
            self._moments.pop()
        self._moments.append(self.noted)
        self._highest.append(mark)
        self.noted += 1

    def since(self, moment: int) -> int:
        """The highest mark noted when ``noted`` was `moment` or more; 0 if there was none."""
        index = bisect_left(self._moments, moment)
        return self._highest[index] if index < len(self._highest) else 0


class ResetMark:
    """The mark where it can be reset: the peak of every window is known."""

    def __init__(self) -> None:
        # reentrant: a signal handler may open a window while this thread does
        self._lock = RLock()
        self._marks = Marks()
        self._open = 0
        os.write(_clear_refs.descriptor(), _RESET)
        # `ru_maxrss` never falls below what the program had that became this one by exec: our own mark it is
        # only above the lowest value it was ever seen to have
        self._lowest = getrusage(RUSAGE_SELF).ru_maxrss
        # memory grows by page faults only: while they are as many as here, the mark is not above `_known`
        self._known = self._faults = -1

    def open(self) -> Window | None:
        """Begin a window; None where resident memory is not told. Raises OSError."""
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
            self._open += 1
            return Window(self, self._marks.noted, start, usage.ru_utime + usage.ru_stime)

    def _see(self, seen: int) -> None:
        """Let open windows know of memory above the mark: the kernel rounds the two in ways of their own."""
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

    def read(self, moment: int, closing: int) -> Reading:
        """What is so now, and since the window's beginning; `closing` is 1 at its end, else 0.

        Raises OSError.
        """
        usage = getrusage(RUSAGE_SELF)
        now = memory.rss()
        with self._lock:
            self._open -= closing
            highest = self._highest(usage)
            if now is not None and now > highest:
                self._see(now)
                highest = now
            if self._marks.noted > moment:
                highest = max(highest, self._marks.since(moment))
        return now, highest, "kernel", usage.ru_utime + usage.ru_stime

    def _highest(self, usage: struct_rusage) -> int:
        """The mark, or what it is known not to be above."""
        max_rss = usage.ru_maxrss
        if max_rss > self._lowest:
            return max_rss * _KIB
        self._lowest = max_rss
        faults = usage.ru_minflt + usage.ru_majflt
        if faults != self._faults:
            self._known, self._faults = _vm_hwm(), faults
        return self._known


class Window:
    """A span of time whose peak memory is asked for.

    ``cpu_seconds`` is the CPU time that the process took in it, up to the last look; None before one.
    """

    __slots__ = ("_began", "_generation", "_mark", "_moment", "_start", "cpu_seconds")

    def __init__(self, mark: ResetMark | SampledMark, moment: int, start: int, cpu: float) -> None:
        self._mark = mark
        self._moment = moment
        self._start = start
        self._began = cpu
        self._generation = _context.generation
        self.cpu_seconds: float | None = None

    def current(self) -> int | None:
        """The highest resident memory up to now, in bytes; changes nothing."""
        return self._read(0).peak

    def close(self) -> Peak:
        """End the window. A forked child does not know the peak of a window that its parent opened."""
        return self._read(1)

    def _read(self, closing: int) -> Peak:
        start = self._start
        if self._generation != _context.generation:
            return Peak(start, memory.rss(), None, None)
        try:
            now, highest, source, cpu = self._mark.read(self._moment, closing)
        except _UNREADABLE:
            return Peak(start, memory.rss(), None, None)
        self.cpu_seconds = cpu - self._began
        return Peak(start, now, max(start, now or 0, highest), source)


def open_window() -> Window | None:
    """Begin a window; None where the platform does not tell the resident memory."""
    global _mark
    try:
        return (_mark or _make_mark()).open()
    except _UNREADABLE:  # the files could be used before: windows that are open keep what they have
        _mark = _sampled()
        return _mark.open()


_mark: ResetMark | SampledMark | None = None
_making = Lock()


def _make_mark() -> ResetMark | SampledMark:
    global _mark
    with _making:
        if _mark is None:
            _mark = _resettable() or _sampled()
        return _mark


def _resettable() -> ResetMark | None:
    if not _may_reset():
        return None
    try:
        return ResetMark()
    except _UNREADABLE:
        return None


def _sampled() -> SampledMark:
    from codoperf_otel._readings.sampled_mark import SampledMark  # not at the top: few have a use for it

    return SampledMark()


def _may_reset() -> bool:
    value = os.environ.get(SETTING, "").strip().lower()
    if value not in {"", "true", "false"}:
        log.warning("%s=%s is ignored: allowed are true and false", SETTING, value)
    return value != "false"


def _vm_hwm() -> int:
    """The mark itself."""
    return _status.read(4096, _parse_vm_hwm)


def readable_vm_hwm() -> int:
    """The mark, or 0 where it cannot be read."""
    try:
        return _vm_hwm()
    except _UNREADABLE:
        return 0


def _parse_vm_hwm(status: bytes) -> int:
    return int(status.split(b"VmHWM:", 1)[1].split(None, 1)[0]) * _KIB


def _forked() -> None:
    global _mark, _making
    _mark = None
    _making = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
