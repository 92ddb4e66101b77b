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
    import resource

if TYPE_CHECKING:
    from codoperf_otel._readings.sampled_mark import SampledMark

log = logging.getLogger("codoperf_otel.readings")

Source = Literal["kernel", "sampled"]

SETTING = "CODOPERF_OTEL_CLEAR_REFS"

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
        self._open: list[None] = []
        _clear_refs.write(_RESET)
        # `ru_maxrss` never falls below what the program had that became this one by exec: our own mark it is
        # only above the lowest value it was ever seen to have
        self._lowest = _usage().ru_maxrss
        # memory grows by page faults only: as long as their number is this one, so is the mark
        self._faults, self._known = -1, 0

    def open(self) -> Window | None:
        """Begin a window; None where resident memory is not told. Raises OSError."""
        usage = _usage()  # before the memory is read: what grows in between is a fault more
        start = memory.rss()
        if start is None:
            return None
        with self._lock:
            if usage.ru_minflt + usage.ru_majflt != self._faults or self._known > start:
                self._reset(usage, start)
            self._open.append(None)
            return Window(start, self, self._marks.noted)

    def _reset(self, usage: resource.struct_rusage, resident: int) -> None:
        if self._open:
            self._marks.note(self._mark(usage))
        else:
            self._marks = Marks()
        _clear_refs.write(_RESET)
        self._faults, self._known = usage.ru_minflt + usage.ru_majflt, resident

    def read(self, moment: int) -> tuple[int | None, int, Source]:
        """Resident memory now, the highest value since the window's beginning, and how it is known."""
        usage = _usage()
        now = memory.rss()
        with self._lock:
            mark = self._mark(usage)
            return now, max(self._marks.since(moment), mark), "kernel"

    def close(self) -> None:
        """End a window."""
        self._open.pop()

    def _mark(self, usage: resource.struct_rusage) -> int:
        if usage.ru_maxrss > self._lowest:
            return usage.ru_maxrss * _KIB
        self._lowest = usage.ru_maxrss
        faults = usage.ru_minflt + usage.ru_majflt
        if faults != self._faults:
            self._faults, self._known = faults, _vm_hwm()
        return self._known


class Window:
    """A span of time whose peak memory is asked for."""

    __slots__ = ("_beginning", "_generation", "_mark", "_start")

    def __init__(self, start: int, mark: ResetMark | SampledMark, beginning: int) -> None:
        self._start = start
        self._mark = mark
        self._beginning = beginning
        self._generation = _context.generation

    def current(self) -> int | None:
        """The highest resident memory up to now, in bytes; changes nothing."""
        return self._read().peak

    def close(self) -> Peak:
        """End the window. A forked child does not know the peak of a window that its parent opened."""
        reading = self._read()
        if self._generation == _context.generation:
            self._mark.close()
        return reading

    def _read(self) -> Peak:
        if self._generation != _context.generation:
            return Peak(self._start, memory.rss(), None, None)
        try:
            now, highest, source = self._mark.read(self._beginning)
        except _UNREADABLE:
            return Peak(self._start, memory.rss(), None, None)
        return Peak(self._start, now, max(self._start, now or 0, highest), source)


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


def _usage() -> resource.struct_rusage:
    return resource.getrusage(resource.RUSAGE_SELF)


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
