"""The highest memory of an operation's calls, for its observable gauge."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from time import perf_counter_ns

from codoperf_otel._statistics import ledgers
from codoperf_otel._statistics.ledgers import BATCH

RECENT_NS = 60_000_000_000


class MemoryPeaks:
    """The peaks of the windows that ended within a minute."""

    __slots__ = ("_ended", "_peaks")

    def __init__(self) -> None:
        self._ended: list[tuple[int, int]] = []
        self._peaks: tuple[tuple[int, int], ...] = ()

    def add(self, ended_ns: int, peak: int) -> None:
        """Take in the highest memory of a window that ended at `ended_ns` of the performance counter."""
        self._ended.append((ended_ns, peak))
        if len(self._ended) >= BATCH:
            self._fold()

    def highest(self, running: Iterable[int | None]) -> int | None:
        """The highest memory of the windows that ended within a minute and of those that run, in bytes."""
        self._fold()
        ended = [peak for _, peak in self._peaks]
        return max((peak for peak in (*ended, *running) if peak is not None), default=None)

    def _fold(self) -> None:
        """Take in what ended, and put the outcome in place in one step, as ledgers do."""
        while True:
            before, ended = self._peaks, self._ended
            batch = ended[:]
            number = len(batch)
            kept = _highest_first((*before, *batch), perf_counter_ns() - RECENT_NS)
            with ledgers.commit:
                if self._peaks is before:
                    self._peaks = kept
                    del ended[:number]
                    break


def _highest_first(peaks: Sequence[tuple[int, int]], oldest: int) -> tuple[tuple[int, int], ...]:
    """The peaks since `oldest` that are above all later ones."""
    kept: list[tuple[int, int]] = []
    highest = 0
    for ended_ns, peak in reversed(peaks):
        if peak > highest and ended_ns >= oldest:
            highest = peak
            kept.append((ended_ns, peak))
    return tuple(reversed(kept))
