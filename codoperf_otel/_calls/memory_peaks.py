"""The highest memory of an operation's calls: of late, for its observable gauge, and ever."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from time import perf_counter_ns

from codoperf_otel._statistics import ledgers
from codoperf_otel._statistics.ledgers import BATCH

RECENT_NS = 60_000_000_000


class MemoryPeaks:
    """The peaks of the windows that ended within a minute, and the highest ever."""

    __slots__ = ("_ended", "_most", "_peaks")

    def __init__(self) -> None:
        self._ended: list[tuple[int, int, int]] = []
        self._most: tuple[int | None, int | None] = (None, None)
        self._peaks: tuple[tuple[int, int], ...] = ()

    def add(self, ended_ns: int, peak: int, growth: int) -> None:
        """Take in a window that ended at `ended_ns` of the performance counter.

        `peak` is its highest memory, and `growth` how far that is above the memory at its start.
        """
        self._ended.append((ended_ns, peak, growth))
        if len(self._ended) >= BATCH:
            self._fold()

    def highest(self, running: Iterable[int | None]) -> int | None:
        """The highest memory of the windows that ended within a minute and of those that run, in bytes."""
        self._fold()
        ended = [peak for _, peak in self._peaks]
        return max((peak for peak in (*ended, *running) if peak is not None), default=None)

    def ever(self) -> tuple[int | None, int | None]:
        """The highest memory and the largest growth of the windows that ended; None before the first."""
        self._fold()
        return self._most

    def _fold(self) -> None:
        """Take in what ended, and put the outcome in place in one step, as ledgers do."""
        while True:
            before, most, ended = self._peaks, self._most, self._ended
            batch = ended[:]
            number = len(batch)
            kept = _highest_first((*before, *(each[:2] for each in batch)), perf_counter_ns() - RECENT_NS)
            after = _highest(most, batch)
            with ledgers.commit:
                if self._peaks is before and self._most is most:
                    self._peaks, self._most = kept, after
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


def _highest(
    most: tuple[int | None, int | None], batch: Sequence[tuple[int, int, int]]
) -> tuple[int | None, int | None]:
    """The highest memory and the largest growth, of those before and of this batch."""
    if not batch:
        return most
    _, peaks, growths = zip(*batch, strict=True)
    return max(most[0] or 0, *peaks), max(most[1] or 0, *growths)
