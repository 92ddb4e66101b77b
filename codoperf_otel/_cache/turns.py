"""The order in which the tiers are written.

Tiers are written from the last to the first and read from the first to the last, so a reader sees the older
value everywhere or the newer one. Two writers of one key take turns. A value found further behind is put in
front only if nobody has written since.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from threading import RLock

from codoperf_otel._cache.namespace import Location
from codoperf_otel._telemetry.interrupts import raise_interrupt

GROUPS = 64
PATIENCE = 10.0
"""Seconds. Whoever holds a lock that long may wait for this thread, which a signal handler interrupted."""


class Turn:
    """One writer after the other, for one group of keys; `count` says how often it was written."""

    __slots__ = ("_lock", "count")

    def __init__(self) -> None:
        self._lock = RLock()
        self.count = 0

    @contextmanager
    def take(self, *, writes: bool = False) -> Iterator[None]:
        """Let nobody else write meanwhile."""
        lock = self._lock
        try:
            if not lock.acquire(timeout=PATIENCE):
                self._lock = RLock()  # so that others need not wait as long
            yield
        finally:
            self.count += writes
            try:  # no call comes before this one: an interrupt could, too
                lock.release()
            except RuntimeError as error:  # it was not taken
                raise_interrupt(error)

    def write(self) -> AbstractContextManager[None]:
        """The same, and no value that was read before the end is put in front afterwards."""
        return self.take(writes=True)


class Turns:
    """A turn for each group of keys."""

    def __init__(self) -> None:
        self.forked()

    def of(self, location: Location) -> Turn:
        """The turn of a key's group."""
        return self._turns[hash(location.key) % GROUPS]

    @contextmanager
    def write_all(self) -> Iterator[None]:
        """Let nobody else write any key meanwhile."""
        with ExitStack() as stack:
            for turn in self._turns:
                stack.enter_context(turn.write())
            yield

    def forked(self) -> None:
        """Make the locks anew: a thread that is not in the child may have held one."""
        self._turns = [Turn() for _ in range(GROUPS)]
