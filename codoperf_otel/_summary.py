"""Statistics by recorded name: exact counts, sums and bounds, percentiles within 1 %, constant memory."""

from __future__ import annotations

import os
import sys
from array import array
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from itertools import accumulate
from math import ceil, inf
from threading import Lock
from typing import Any, cast
from weakref import WeakSet

_HIGH_HALF = slice(1, None, 2) if sys.byteorder == "little" else slice(0, None, 2)


Entry = tuple[str, float, float | None, float | None, float, dict[str, Any] | None]
"""One finished call: name, execution time in s, memory in MiB, CPU in %, end in Unix seconds, metadata.

A plain tuple, as one is made at every call, and a named one takes three times as long.
"""


class Range:
    """Count, sum and bounds of a stream of numbers."""

    __slots__ = ("count", "highest", "lowest", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.lowest = inf
        self.highest = -inf

    def add(self, values: Sequence[float]) -> None:
        """Take in a batch of values."""
        if values:
            self.count += len(values)
            self.total += sum(values)
            self.lowest = min(self.lowest, min(values))
            self.highest = max(self.highest, max(values))

    def merge(self, other: Range) -> None:
        """Take in all that another range has seen."""
        self.count += other.count
        self.total += other.total
        self.lowest = min(self.lowest, other.lowest)
        self.highest = max(self.highest, other.highest)

    def as_dict(self) -> dict[str, float]:
        """``min``, ``max`` and ``avg``; zeros where nothing was measured."""
        if not self.count:
            return {"min": 0.0, "max": 0.0, "avg": 0.0}
        return {"min": self.lowest, "max": self.highest, "avg": self.total / self.count}


class Summary:
    """What one recorded name has seen."""

    __slots__ = ("buckets", "cpu", "memory", "seconds")

    def __init__(self) -> None:
        self.seconds = Range()
        self.memory = Range()
        self.cpu = Range()
        # a value falls into the bucket of the upper 16 bits of its float32: at most 0.8 % wide
        self.buckets: Counter[int] = Counter()

    def add(self, entries: list[Entry]) -> None:
        """Take in a batch of calls."""
        _, seconds, memory, cpu, *_ = zip(*entries, strict=True)
        self.seconds.add(seconds)
        self.memory.add(_present(memory))
        self.cpu.add(_present(cpu))
        self.buckets.update(memoryview(array("f", seconds)).cast("B").cast("H").tolist()[_HIGH_HALF])

    def merge(self, other: Summary) -> None:
        """Take in all that another summary has seen."""
        self.seconds.merge(other.seconds)
        self.memory.merge(other.memory)
        self.cpu.merge(other.cpu)
        self.buckets.update(other.buckets)

    def percentile(self, share: float) -> float:
        """The execution time that `share` of the calls did not exceed, within 0.4 %."""
        rank = ceil(share * self.seconds.count)
        counted = accumulate(self.buckets[bucket] for bucket in sorted(self.buckets))
        at = next(
            bucket for bucket, below in zip(sorted(self.buckets), counted, strict=True) if below >= rank
        )
        return min(max(_middle(at), self.seconds.lowest), self.seconds.highest)

    def as_dict(self) -> dict[str, Any]:
        """The figures under the keys that `PerformanceMonitor.get_stats` documents."""
        times = {**self.seconds.as_dict(), "total": self.seconds.total}
        percentiles = {f"p{share}": self.percentile(share / 100) for share in (50, 95, 99)}
        return {
            "total_calls": self.seconds.count,
            "execution_time": times | percentiles,
            "memory_usage_mb": self.memory.as_dict(),
            "cpu_percent": self.cpu.as_dict(),
        }


def _present(values: Sequence[float | None]) -> Sequence[float]:
    """What was measured."""
    return (
        [value for value in values if value is not None]
        if None in values
        else cast("Sequence[float]", values)
    )


def _middle(bucket: int) -> float:
    bits = array("I", [bucket << 16 | 0x8000])
    return float(memoryview(bits).cast("B").cast("f")[0])


class Statistics:
    """The summaries of one monitor. A call appends to `log`; everything else folds that first."""

    def __init__(self, newest: int) -> None:
        self._limit = newest
        self.reset()
        _all.add(self)

    def reset(self) -> None:
        """Begin anew, as a forked child does; the lock may have been held by a thread that is gone."""
        self._lock = Lock()
        self.log: list[Entry] = []
        self._summaries: dict[str, Summary] = {}
        self._newest: deque[Entry] = deque(maxlen=self._limit)

    def fold(self) -> None:
        """Take the log in: to be called when it has `BATCH` entries."""
        with self._lock:
            self._fold()

    def _fold(self) -> None:
        entries = self.log[:]
        del self.log[: len(entries)]
        self._newest.extend(entries)
        by_name: defaultdict[str, list[Entry]] = defaultdict(list)
        for entry in entries:
            by_name[entry[0]].append(entry)
        for name, batch in by_name.items():
            self._summaries.setdefault(name, Summary()).add(batch)

    def newest(self) -> list[Entry]:
        """The newest calls, oldest first."""
        with self._lock:
            self._fold()
            return list(self._newest)

    def summary(self, name: str | None) -> Summary | None:
        """What was seen under a name, or under all of them; None where that is nothing."""
        with self._lock:
            self._fold()
            if name is not None:
                return self._summaries.get(name)
            whole = Summary()
            for summary in self._summaries.values():
                whole.merge(summary)
            return whole if self._summaries else None

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._fold()
            self._summaries.clear()
            self._newest.clear()


_all: WeakSet[Statistics] = WeakSet()


def _forked() -> None:
    for statistics in list(_all):
        statistics.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
