"""The owner of the process's memory high-water mark: the peak of any window of time, exact on Linux.

The kernel keeps one mark per process. A window that opens resets it, after the windows that are already open
have noted its value. Windows may overlap in any order, in any thread.
"""

from __future__ import annotations

import logging
from threading import RLock
from typing import NamedTuple

from codoperf_otel import _environment_variables as variables
from codoperf_otel import _forks
from codoperf_otel._once import Once
from codoperf_otel._readings import memory
from codoperf_otel._readings.collection import leave_out
from codoperf_otel._readings.kept_file import UNREADABLE
from codoperf_otel._readings.marks import Mark, Opening, Source, Token
from codoperf_otel._readings.reset_mark import ResetMark
from codoperf_otel._readings.sampled_mark import SampledMark
from codoperf_otel._telemetry import names
from codoperf_otel._telemetry.interrupts import raise_interrupt

log = logging.getLogger("codoperf_otel.readings")


class MemoryUse(NamedTuple):
    """Resident memory at the start and the end of a window and its highest value between, in bytes.

    ``peak`` and ``source`` are None for a window that a forked child has from its parent.
    """

    start: int
    end: int | None
    peak: int | None
    source: Source | None


class Window:
    """A span of time whose peak memory is asked for. It ends where it is closed, or where nobody has it.

    ``cpu_seconds`` is the CPU time that the process took in it, up to the last look; None before one.
    """

    __slots__ = ("_began", "_generation", "_mark", "_moment", "_start", "cpu_seconds", "token")

    def __init__(self, mark: Mark, opening: Opening) -> None:
        self._generation = _forks.generation
        self._mark = mark
        self.token: Token | None
        self.token, self._moment, self._start, self._began = opening
        self.cpu_seconds: float | None = None

    def current(self) -> int | None:
        """The highest resident memory up to now, in bytes; changes nothing."""
        return self._read(None).peak

    def close(self) -> MemoryUse:
        """End the window. A forked child does not know the peak of a window that its parent opened."""
        return self._read(self)

    def _read(self, closing: Window | None) -> MemoryUse:
        start = self._start
        if self._generation != _forks.generation:
            return MemoryUse(start, memory.rss(), None, None)
        try:
            now, highest, source, cpu = self._mark.read(self._moment, closing)
        except UNREADABLE as error:
            raise_interrupt(error)
            return MemoryUse(start, memory.rss(), None, None)
        self.cpu_seconds = cpu - self._began
        return MemoryUse(start, now, max(start, now or 0, highest), source)


def open_window() -> Window | None:
    """Begin a window; None where the platform does not report resident memory."""
    global _mark
    mark = _mark or _make_mark()
    try:
        opening = mark.open()
    except UNREADABLE as error:  # the files could be used before: windows that are open keep what they have
        raise_interrupt(error)
        _say_sampled(error)
        mark = _mark = _sampled()
        opening = mark.open()
    if opening is None:
        leave_out(names.PROCESS_MEMORY_PEAK)
        return None
    return Window(mark, opening)


_mark: Mark | None = None
_making = RLock()


def _make_mark() -> Mark:
    global _mark
    with _making:
        if _mark is None:
            _mark = _resettable() or _sampled()
        return _mark


def _resettable() -> Mark | None:
    if not _may_reset():
        return None
    try:
        return ResetMark()
    except UNREADABLE as error:
        raise_interrupt(error)
        _say_sampled(error)
        return None


_is_first_time = Once()


def _say_sampled(error: Exception) -> None:
    if _is_first_time():
        log.info("%s is sampled: the kernel's mark cannot be reset (%s)", names.PROCESS_MEMORY_PEAK, error)


def _sampled() -> Mark:
    return SampledMark()


def _may_reset() -> bool:
    try:
        return variables.flag(variables.CLEAR_REFS, default=True)
    except ValueError as error:
        log.warning("%s; the value is ignored", error)
        return True


@_forks.in_child
def _forked() -> None:
    global _mark, _making
    _mark = None
    _making = RLock()
