"""The order in which the tiers are written.

Tiers are written from the last to the first and read from the first to the last, so a reader sees the older
value everywhere or the newer one. Two writers of one key take turns. A value found further behind is put in
front only if nobody has written since.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import RLock

from codoperf_otel._cache.deadlocks import is_inside_cache
from codoperf_otel._cache.namespace import Location
from codoperf_otel._telemetry.interrupts import raise_interrupt

GROUPS = 64
PATIENCE = 10.0
"""Seconds. Whoever holds a lock that long may wait for this thread, which a signal handler interrupted."""

SHORT_PATIENCE = 0.1
"""For a signal handler's or a finalizer's call: whoever holds a lock may wait for what that interrupts."""


class Turn:
    """One writer after the other, for one group of keys; `count` says how often it was written.

    The work is handed over: a context manager written in Python could be interrupted between its steps, and
    what a signal handler raises in the end of a generator's one may be lost.
    """

    __slots__ = ("_lock", "count")

    def __init__(self) -> None:
        self._lock = RLock()
        self.count = 0

    def take(self, work: Callable[[], object], *, writes: bool = False) -> None:
        """Do some work while nobody else writes."""
        lock = self._lock
        try:
            if not lock.acquire(blocking=False):
                self._wait(lock)
            work()
        finally:
            self.count += writes
            try:  # no call comes before this one: an interrupt could, too
                lock.release()
            except RuntimeError as error:  # it was not taken
                raise_interrupt(error)

    def _wait(self, lock: RLock) -> None:
        if is_inside_cache():
            lock.acquire(timeout=SHORT_PATIENCE)
        elif not lock.acquire(timeout=PATIENCE):
            self._lock = RLock()  # so that others need not wait as long

    def write(self, work: Callable[[], object]) -> None:
        """The same, and no value that was read before the end is put in front afterwards."""
        self.take(work, writes=True)


class Turns:
    """A turn for each group of keys."""

    def __init__(self) -> None:
        self.forked()

    def of(self, location: Location) -> Turn:
        """The turn of a key's group."""
        return self._turns[hash(location.key) % GROUPS]

    def write_all(self, work: Callable[[], object]) -> None:
        """Do some work while nobody else writes any key."""
        for turn in reversed(self._turns):
            work = partial(turn.write, work)
        work()

    def forked(self) -> None:
        """Make the locks anew: a thread that is not in the child may have held one."""
        self._turns = [Turn() for _ in range(GROUPS)]
