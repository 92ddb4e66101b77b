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

    def highest(self, moment: int) -> tuple[int, Source]:
        """The highest value since the window's beginning, and how it is known."""
        with self._lock:
            return max(self._marks.since(moment), self._mark()), "kernel"

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
        return self._peak(memory.rss())[0]

    def close(self) -> Peak:
        """End the window. A forked child does not know the peak of a window that its parent opened."""
        end = memory.rss()
        peak, source = self._peak(end)
        if self._is_ours():
            self._mark.close()
        return Peak(self._start, end, peak, source)

    def _peak(self, now: int | None) -> tuple[int, Source] | tuple[None, None]:
        if not self._is_ours():
            return None, None
        try:
            highest, source = self._mark.highest(self._beginning)
        except _UNREADABLE:
            return None, None
        return max(self._start, now or 0, highest), source

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
        _mark = mark = _sampled()
        return Window(start, mark, mark.open())


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


def _max_rss() -> int:
    """The highest mark since the last reset or, if that is higher, the one from before the exec."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB


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
