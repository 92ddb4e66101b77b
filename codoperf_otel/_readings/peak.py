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
from typing import Literal, NamedTuple

from codoperf_otel import _context
from codoperf_otel._readings import memory
from codoperf_otel._readings.kept_file import KeptFile

if sys.platform != "win32":
    import resource

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

    ``peak`` and ``source`` are None where the platform does not give the peak.
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
        _clear_refs.write(_RESET)
        # `ru_maxrss` never falls below what the program had that became this one by exec: our own mark it is
        # only above the lowest value it was ever seen to have
        self._lowest = _max_rss()

    def open(self) -> int:
        """Begin a window; gives the moment that `highest` asks for. Raises OSError."""
        with self._lock:
            if self._open:
                self._marks.note(self._mark())
            else:
                self._marks = Marks()
            _clear_refs.write(_RESET)
            self._open += 1
            return self._marks.noted

    def highest(self, moment: int) -> int:
        """The highest value since the window's beginning."""
        with self._lock:
            return max(self._marks.since(moment), self._mark())

    def close(self) -> None:
        """End a window."""
        with self._lock:
            self._open -= 1

    def _mark(self) -> int:
        mark = _max_rss()
        if mark > self._lowest:
            return mark
        self._lowest = mark
        return _vm_hwm()


class RisingMark:
    """The mark where it cannot be reset: a window's peak is known if the mark rose in it."""

    def open(self) -> int | None:
        """Begin a window; gives the mark there, if it can be read."""
        try:
            return _vm_hwm()
        except _UNREADABLE:
            return None

    def highest(self, before: int | None) -> int | None:
        """The highest value since the window's beginning, or None."""
        if before is None:
            return None
        mark = _vm_hwm()
        return mark if mark > before else None

    def close(self) -> None:
        """End a window."""


class Window:
    """A span of time whose peak memory is asked for."""

    __slots__ = ("_beginning", "_generation", "_mark", "_start")

    def __init__(self, start: int, mark: ResetMark | RisingMark, beginning: int | None) -> None:
        self._start = start
        self._mark = mark
        self._beginning = beginning
        self._generation = _context.generation

    def current(self) -> int | None:
        """The highest resident memory up to now, in bytes; changes nothing."""
        return self._peak(memory.rss())

    def close(self) -> Peak:
        """End the window. A forked child does not know the peak of a window that its parent opened."""
        end = memory.rss()
        peak = self._peak(end)
        if self._is_ours():
            self._mark.close()
        return Peak(self._start, end, peak, None if peak is None else "kernel")

    def _peak(self, now: int | None) -> int | None:
        highest = self._highest()
        return None if highest is None else max(self._start, now or 0, highest)

    def _highest(self) -> int | None:
        try:
            return self._mark.highest(self._beginning) if self._is_ours() else None  # type: ignore[arg-type]
        except _UNREADABLE:
            return None

    def _is_ours(self) -> bool:
        return self._generation == _context.generation


def open_window() -> Window | None:
    """Begin a window; None where the platform does not tell the resident memory."""
    global _mark
    start = memory.rss()
    if start is None:
        return None
    mark = _mark or _make_mark()
    try:
        return Window(start, mark, mark.open())
    except _UNREADABLE:  # the files could be used before: windows that are open keep what they have
        _mark = mark = RisingMark()
        return Window(start, mark, mark.open())


_mark: ResetMark | RisingMark | None = None
_making = Lock()


def _make_mark() -> ResetMark | RisingMark:
    global _mark
    with _making:
        if _mark is None:
            _mark = _resettable() or RisingMark()
        return _mark


def _resettable() -> ResetMark | None:
    if not _may_reset():
        return None
    try:
        return ResetMark()
    except _UNREADABLE:
        return None


def _may_reset() -> bool:
    value = os.environ.get(SETTING, "").strip().lower()
    if value not in {"", "true", "false"}:
        log.warning("%s=%s is ignored: allowed are true and false", SETTING, value)
    return value != "false"


def _max_rss() -> int:
    """The highest mark since the last reset or, if that is higher, the one from before the exec."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB


def _vm_hwm() -> int:
    """The mark itself."""
    return _status.read(4096, _parse_vm_hwm)


def _parse_vm_hwm(status: bytes) -> int:
    return int(status.split(b"VmHWM:", 1)[1].split(None, 1)[0]) * _KIB


def _forked() -> None:
    global _mark, _making
    _mark = None
    _making = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
