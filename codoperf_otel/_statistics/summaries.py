"""What is known of many calls, in constant memory: counts, sums and bounds, and percentiles within 0.4 %."""

from __future__ import annotations

import sys
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple, TypeVar, cast

T = TypeVar("T", int, float)

_HIGH_HALF = slice(1, None, 2) if sys.byteorder == "little" else slice(0, None, 2)


class Range(NamedTuple):
    """Count, sum and bounds of a stream of numbers."""

    number: int = 0
    total: float = 0.0
    lowest: float = float("inf")
    highest: float = float("-inf")

    def merged(self, other: Range) -> Range:
        """The range that has seen what either has."""
        return Range(
            self.number + other.number,
            self.total + other.total,
            min(self.lowest, other.lowest),
            max(self.highest, other.highest),
        )

    def divided(self, by: float) -> Range:
        """The range of the numbers divided by another."""
        return Range(self.number, self.total / by, self.lowest / by, self.highest / by)

    def as_dict(self) -> dict[str, float]:
        """``min``, ``max`` and ``avg``; zeros where nothing was measured."""
        if not self.number:
            return {"min": 0.0, "max": 0.0, "avg": 0.0}
        return {"min": self.lowest, "max": self.highest, "avg": self.total / self.number}


def range_of(values: Sequence[float]) -> Range:
    """The range of these numbers."""
    return Range(len(values), sum(values), min(values), max(values)) if values else Range()


class Summary(NamedTuple):
    """What was seen under a name. It is never changed: what has seen more is another one.

    A bucket holds the execution times in ns that have the same upper 16 bits as a float32, so it is at most
    0.8 % wide. `buckets` has the number of times in each.
    """

    seconds: Range = Range()
    memory: Range = Range()
    cpu: Range = Range()
    buckets: Counter[int] = Counter()  # noqa: RUF012  # never changed

    def with_calls(
        self, wall_ns: Sequence[float], memory: Sequence[float | None], cpu_share: Sequence[float | None]
    ) -> Summary:
        """The summary that has seen these too: wall times in ns, memory in MiB, CPU time / wall time."""
        buckets = self.buckets.copy()
        buckets.update(memoryview(array("f", wall_ns)).cast("B").cast("H")[_HIGH_HALF].tolist())
        return Summary(
            self.seconds.merged(range_of(wall_ns).divided(1e9)),
            self.memory.merged(range_of(present(memory))),
            self.cpu.merged(range_of(present(cpu_share)).divided(0.01)),
            buckets,
        )

    def percentile(self, share: float) -> float:
        """The execution time in s that `share` of the calls did not exceed, within 0.4 %."""
        rank = -int(-share * self.seconds.number // 1)
        counted = accumulate(self.buckets[bucket] for bucket in sorted(self.buckets))
        at = next(
            bucket for bucket, below in zip(sorted(self.buckets), counted, strict=True) if below >= rank
        )
        return min(max(_middle(at) / 1e9, self.seconds.lowest), self.seconds.highest)

    def as_dict(self) -> dict[str, Any]:
        """The figures under the keys that `PerformanceMonitor.get_stats` documents."""
        times = {**self.seconds.as_dict(), "total": self.seconds.total}
        percentiles = {f"p{share}": self.percentile(share / 100) for share in (50, 95, 99)}
        return {
            "total_calls": self.seconds.number,
            "execution_time": times | percentiles,
            "memory_usage_mb": self.memory.as_dict(),
            "cpu_percent": self.cpu.as_dict(),
        }


EMPTY = Summary()


def merged(summaries: Iterable[Summary]) -> Summary:
    """The summary that has seen what all of these have."""
    found = [summary for summary in summaries if summary.seconds.number]
    buckets: Counter[int] = Counter()
    for summary in found:
        for bucket, number in summary.buckets.items():  # `Counter.update` takes longer for a few
            buckets[bucket] += number
    return Summary(
        _whole([summary.seconds for summary in found]),
        _whole([summary.memory for summary in found]),
        _whole([summary.cpu for summary in found]),
        buckets,
    )


def _whole(ranges: list[Range]) -> Range:
    if not ranges:
        return Range()
    numbers, totals, lowest, highest = zip(*ranges, strict=True)
    return Range(sum(numbers), sum(totals), min(lowest), max(highest))


def present(values: Sequence[T | None]) -> Sequence[T]:
    """What was measured."""
    if all(values):  # no None among them, nor a 0
        return cast("Sequence[T]", values)
    return [value for value in values if value is not None]


def _middle(bucket: int) -> float:
    bits = array("I", [bucket << 16 | 0x8000])
    return float(memoryview(bits).cast("B").cast("f")[0])
