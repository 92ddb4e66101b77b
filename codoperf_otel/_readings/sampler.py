"""The one thread that samples what no event announces; it runs while somebody is subscribed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import TIMEOUT_MAX, RLock, Thread
from time import monotonic_ns
from typing import NamedTuple

from codoperf_otel import _forks
from codoperf_otel._telemetry.interrupts import raise_interrupt

log = logging.getLogger("codoperf_otel.readings")

Subscriber = Callable[[int], object]
"""Called with the clock's time of the sample, in ns; it takes the reading it wants."""


class _Turn(NamedTuple):
    """When a subscriber is called next, and how long after that again."""

    due_ns: int
    interval_ns: int


def is_seconds(value: object) -> bool:
    """Whether a setting is a number of seconds above 0 that threads can wait for."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= TIMEOUT_MAX


class Wake:
    """Ends a wait. An `Event` has a lock on which a signal handler that sets it, too, would wait for ever."""

    def __init__(self) -> None:
        self._set: SimpleQueue[None] = SimpleQueue()

    def set(self) -> None:
        """End the wait, or the next one."""
        self._set.put(None)

    def wait(self, seconds: float) -> None:
        """Wait until it is set, or so many seconds have passed."""
        try:
            self._set.get(timeout=seconds)
        except Empty:
            return


class Sampler:
    """Calls each subscriber at its own interval, all of them on one daemon thread.

    `clock` returns ns; `wait` returns when so many seconds have passed or it is set.
    """

    def __init__(
        self, clock: Callable[[], int] = monotonic_ns, wait: Callable[[Wake, float], object] = Wake.wait
    ) -> None:
        self._clock = clock
        self._wait = wait
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget all subscribers, as a forked child does: it has neither the thread nor who held the lock."""
        # reentrant: a signal handler may subscribe while this thread does
        self._lock = RLock()
        self._changed = Wake()
        self._turns: dict[Subscriber, _Turn] = {}
        self._thread: Thread | None = None

    def subscribe(self, subscriber: Subscriber, interval: float) -> bool:
        """Call `subscriber` every `interval` seconds, for the first time in one; False if it already is."""
        interval_ns = int(interval * 1e9)
        with self._lock:
            if subscriber in self._turns:
                return False
            self._turns[subscriber] = _Turn(self._clock() + interval_ns, interval_ns)
            self._changed.set()
            if self._thread is None:
                self._start()
            return True

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Call `subscriber` no more, if it was; a call that has begun goes on to its end."""
        with self._lock:
            if self._turns.pop(subscriber, None) is not None:
                self._changed.set()

    def _start(self) -> None:
        thread = Thread(target=self._run, name="codoperf-otel-sampler", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no more threads are allowed, or the interpreter ends
            raise_interrupt(error)
            log.warning("nothing is sampled: %s", error)
        else:
            self._thread = thread

    def _run(self) -> None:
        while (pause := self._pause()) is not None:
            self._wait(self._changed, pause)
            self._call_those_due()

    def _pause(self) -> float | None:
        """Seconds until the next turn; None, and the end of the thread, if nobody is subscribed."""
        with self._lock:
            if not self._turns:
                self._thread = None
                return None
            due_ns = min(turn.due_ns for turn in self._turns.values())
            return min(max(due_ns - self._clock(), 0) / 1e9, TIMEOUT_MAX)

    def _call_those_due(self) -> None:
        now = self._clock()
        for subscriber in self._take_turns(now):
            try:
                subscriber(now)
            except Exception as error:
                raise_interrupt(error)
                self.unsubscribe(subscriber)
                log.warning("%r failed and is sampled no more", subscriber, exc_info=True)

    def _take_turns(self, now: int) -> list[Subscriber]:
        """Who is due, each with its next turn set: at least one interval from now."""
        with self._lock:
            due = [subscriber for subscriber, turn in self._turns.items() if turn.due_ns <= now]
            for subscriber in due:
                interval_ns = self._turns[subscriber].interval_ns
                self._turns[subscriber] = _Turn(now + interval_ns, interval_ns)
            return due


shared = Sampler()
"""The sampler of this process."""

_forks.in_child(shared.begin_anew)
