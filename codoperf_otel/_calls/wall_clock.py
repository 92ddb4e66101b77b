"""Unix time that never runs against the clock by which durations are measured.

Start and end of every span come from one reading of ``perf_counter_ns`` each, and one offset to Unix time
that all calls share: so a call neither begins before its parent nor ends after it, whatever comes between
two readings.
"""

from __future__ import annotations

from time import perf_counter_ns, time_ns

SECOND_NS = 1_000_000_000
TOLERANCE_NS = 1_000_000
"""The offset follows the machine's clock where the two are farther apart than this."""

_TRIES = 3


class WallClock:
    """The offset between ``perf_counter_ns`` and Unix time, looked at once a second at most."""

    __slots__ = ("epoch_ns", "looked_ns")

    def __init__(self) -> None:
        self.epoch_ns = _measured()
        self.looked_ns = perf_counter_ns()

    def look(self, now_ns: int) -> int:
        """Measure the offset anew; returns the one to use."""
        self.looked_ns = now_ns
        measured = _measured()
        if abs(measured - self.epoch_ns) > TOLERANCE_NS:
            self.epoch_ns = measured
        return self.epoch_ns


def _measured() -> int:
    """Unix time at 0 of ``perf_counter_ns``: of a few tries, the one with the closest readings."""
    return min(_bracketed() for _ in range(_TRIES))[1]


def _bracketed() -> tuple[int, int]:
    before = perf_counter_ns()
    unix = time_ns()
    after = perf_counter_ns()
    return after - before, unix - (before + after) // 2


wall_clock = WallClock()

_ONE_STEP_NS = 50_000_000


def shared_epoch(parents_ns: int, own_ns: int) -> int:
    """The offset for a call whose parent has another: the parent's, unless the machine's clock was set."""
    return parents_ns if abs(parents_ns - own_ns) < _ONE_STEP_NS else own_ns
