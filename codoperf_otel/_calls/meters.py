"""Meters: what is measured of a call beside its time. A site has a tuple of them; most sites have none."""

from __future__ import annotations

from collections.abc import Mapping
from threading import get_ident
from time import process_time_ns
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry.trace import Span

from codoperf_otel import _forks
from codoperf_otel._calls.memory_peaks import MemoryPeaks
from codoperf_otel._telemetry import names

if TYPE_CHECKING:
    from codoperf_otel._calls.cells import Cell
    from codoperf_otel._readings.peak import Window


class OpenMeter(Protocol):
    """A meter while a call runs."""

    __slots__ = ()

    def close(self, ended_ns: int) -> Mapping[str, Any]:
        """End the measurement of a call that was left then; returns what was measured, as attributes."""
        ...

    def memory_peak(self) -> int | None:
        """The highest memory so far, in bytes. Most meters know nothing of it."""
        return None

    def mark(self, span: Span) -> None:  # noqa: ARG002
        """Put events on the call's span, which still records. Most meters have none."""
        return


class Meter(Protocol):
    """Something that is measured of every call of a site."""

    def prepare(self) -> None:
        """Load what is needed, when a site is made: an interrupt may come in the midst of a later import."""
        ...

    def open(self, cell: Cell) -> OpenMeter:
        """Begin to measure a call that is counted in `cell`, just before its code runs."""
        ...


class MemoryMeter:
    """Measures the process's memory at start, end and highest, and its CPU time."""

    def prepare(self) -> None:
        """Load the readings: only operations need them."""
        _peak()

    def open(self, cell: Cell) -> OpenMeter:
        """Begin to measure a call."""
        window = opened_peak()
        return _OpenCpuTime() if window is None else _OpenWindow(window, cell.peaks)

    def __reduce__(self) -> str:
        """A decorated function goes to another process, where this is the same."""
        return "MEMORY"


MEMORY = MemoryMeter()


def opened_window() -> OpenMeter:
    """Begin to measure the same of what no cell counts."""
    window = opened_peak()
    return _OpenCpuTime() if window is None else _OpenWindow(window, None)


def opened_peak() -> Window | None:
    """Begin to watch the process's highest memory; None where it is not known."""
    peak = _loaded or _peak()
    found: Window | None = None if peak is None else peak.open_window()
    return found


class _OpenWindow(OpenMeter):
    __slots__ = ("_peaks", "_window")

    def __init__(self, window: Window, peaks: MemoryPeaks | None) -> None:
        self._window = window
        self._peaks = peaks

    def close(self, ended_ns: int) -> Mapping[str, Any]:
        window, peaks = self._window, self._peaks
        start, end, peak, source = window.close()
        if peaks is not None and peak is not None:
            peaks.add(ended_ns, peak, peak - start)
        cpu_seconds = window.cpu_seconds
        measured = {
            names.PROCESS_CPU_TIME_SPENT: None if cpu_seconds is None else round(cpu_seconds * 1e9) / 1e9,
            names.PROCESS_MEMORY_START: start,
            names.PROCESS_MEMORY_END: end,
            names.PROCESS_MEMORY_PEAK: peak,
            names.PROCESS_MEMORY_PEAK_SOURCE: source,
        }
        if None in (cpu_seconds, end, peak):
            return {name: value for name, value in measured.items() if value is not None}
        return measured

    def memory_peak(self) -> int | None:
        return self._window.current()


class _OpenCpuTime(OpenMeter):
    """Where the memory is not known, the CPU time is."""

    __slots__ = ("_began_ns",)

    def __init__(self) -> None:
        self._began_ns = process_time_ns()

    def close(self, ended_ns: int) -> Mapping[str, Any]:  # noqa: ARG002
        return {names.PROCESS_CPU_TIME_SPENT: (process_time_ns() - self._began_ns) / 1e9}


_loaded: ModuleType | None = None
_loading: set[int] = set()


def _peak() -> ModuleType | None:
    """The readings. None in a signal handler or finalizer that comes while its own thread loads them."""
    global _loaded
    me = get_ident()
    if _loaded is None and me not in _loading:
        _loading.add(me)
        try:
            with _forks.importing.lock:
                from codoperf_otel._readings import peak

                _loaded = peak
        finally:
            _loading.discard(me)
    return _loaded
