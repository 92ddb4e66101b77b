"""What the callbacks of one collection share: one reading, and one line for what cannot be read."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from threading import RLock
from time import monotonic_ns
from typing import Generic, Protocol, TypeVar

from codoperf_otel._once import OncePerKey

log = logging.getLogger("codoperf_otel.readings")

KEPT_NS = 50_000_000
COMPARED_NS = 1_000_000_000
"""CPU utilization is measured over at least this long."""


class TimedReading(Protocol):
    """A reading that says when it was taken."""

    @property
    def at_ns(self) -> int:
        """The clock that `Readings` was given, then."""
        ...


R = TypeVar("R", bound=TimedReading)


class Readings(Generic[R]):
    """The last reading, and the earlier ones that utilization is measured against."""

    def __init__(self, take: Callable[[int], R], clock: Callable[[], int] = monotonic_ns) -> None:
        self._take = take
        self._clock = clock
        self._history: deque[R] = deque()
        self.begin_lock_anew()

    def begin_lock_anew(self) -> None:
        """In a forked child: the thread that held the lock may be gone."""
        self._lock = RLock()

    def latest(self) -> R:
        """A reading at most 50 ms old."""
        with self._lock:
            return self._latest()

    def compared(self, age_ns: int = COMPARED_NS) -> tuple[R, R | None]:
        """The latest reading, and the last one that is older by `age_ns`, at most 1 s, if there is one."""
        with self._lock:
            latest = self._latest()
            old_enough = (kept for kept in reversed(self._history) if latest.at_ns - kept.at_ns >= age_ns)
            return latest, next(old_enough, None)

    def _latest(self) -> R:
        history = self._history
        now = self._clock()
        if not history or now - history[-1].at_ns >= KEPT_NS:
            history.append(self._take(now))
            while len(history) > 1 and now - history[1].at_ns >= COMPARED_NS:
                history.popleft()
        return history[-1]


_is_first_time = OncePerKey()


def leave_out(metric: str) -> None:
    """Say once that a metric has no figure on this platform."""
    if _is_first_time(metric):
        log.info("%s cannot be read on this platform and is left out", metric)
