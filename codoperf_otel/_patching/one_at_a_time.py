"""What is begun and ended as a whole, such as a set of replacements: one at a time, by one thread."""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock
from typing import Generic, Protocol, TypeVar

from codoperf_otel import _forks


class Whole(Protocol):
    """What is begun and ended as a whole."""

    def begin(self) -> None:
        """Begin it, once."""
        ...

    def end(self) -> None:
        """End what has begun of it: an exception may have cut its begin off, or an earlier end."""
        ...


W = TypeVar("W", bound=Whole)


class OneAtATime(Generic[W]):
    """At most one of a kind, `running`. A forked child finds it begun or ended, never half done.

    An exception that comes while one begins ends it again. One that comes while it ends leaves it running, so
    that it can be ended once more. It is there as long as the process.
    """

    def __init__(self) -> None:
        self.running: W | None = None
        self._safe = _forks.ForkSafeLock()

    @property
    def lock(self) -> RLock:
        """What no other thread has while one begins or ends."""
        return self._safe.lock

    def start(self, make: Callable[[], W]) -> None:
        """Begin what `make` makes, unless one is running."""
        with _forks.importing.lock, self.lock:  # what begins may import, and a fork takes them in this order
            if self.running is None:
                self.running = made = make()
                try:
                    made.begin()
                except BaseException:
                    self.stop()
                    raise

    def exchange(self, make: Callable[[], W]) -> None:
        """End what is running, if anything is, and begin what `make` makes."""
        with _forks.importing.lock, self.lock:
            self.stop()
            self.start(make)

    def stop(self) -> None:
        """End what is running, if anything is."""
        with self.lock:
            ended, self.running = self.running, None
            if ended is not None:
                try:
                    ended.end()
                except BaseException:
                    self.running = ended
                    raise
