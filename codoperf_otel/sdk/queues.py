"""The queue in front of an exporter: what it does with more than the exporter takes.

A file, the spool and the console let whoever records wait, so that nothing is lost. An endpoint does not:
what finds the queue full is dropped, and counted.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from operator import length_hint

from codoperf_otel._telemetry import names
from codoperf_otel.sdk.errors import Destination
from codoperf_otel.sdk.losses import WHAT, Tally
from codoperf_otel.sdk.outputs import Otlp, Output, Signal
from codoperf_otel.sdk.standard_variables import BATCHES, queue_size

log = logging.getLogger("codoperf_otel.export")

_SPARE = 1000  # so many threads may find room in the same moment
_NUDGE = 0.1  # seconds: the SDK's thread may sleep although there is work, until something is handed to it
_LONGEST_WAIT = 30.0
_MINUTE = 60.0


class Queue:
    """Knows how much a batch processor of the SDK's holds, from what goes in and what its exporter takes.

    The SDK's own queue, of `inner_size`, has more than twice the room, so it never drops anything itself.
    Counting takes no lock, since a signal handler or a finalizer may come between any two steps.
    """

    def __init__(self, output: Output, destination: Destination) -> None:
        self.size = queue_size(output.signal)
        self.inner_size = 2 * self.size + _SPARE
        self._signal: Signal = output.signal
        self._destination = destination
        may_drop = isinstance(output, Otlp) and output.spool is None
        self._make_room = self._drop if may_drop else self._wait
        self._is_over = False
        self._is_given_up = False
        self._dropped = Tally()
        self._say_after = 0.0
        self._said = 0
        self.begin_anew()

    def begin_anew(self) -> None:
        """Nothing is held: at the start, and in a forked child, where the SDK empties its queue."""
        self._handed = Tally()
        self.free = self._handed.left
        self._taken = 0
        self.full_at = sys.maxsize - self.size
        self._waiting: deque[threading.Lock] = deque()
        self._taker = 0

    @property
    def is_full(self) -> bool:
        """Whether it holds as much as it may."""
        return length_hint(self.free) <= self.full_at

    def has_room(self) -> bool:
        """Whether one more may be handed on, which `next(queue.free)` then counts. This may wait.

        What may not be handed on is counted as dropped.
        """
        return length_hint(self.free) > self.full_at or self._make_room()

    def take(self, number: int) -> bool:
        """The exporter has taken so many. False where they are counted as lost by now."""
        self._taker = threading.get_ident()
        if self._is_given_up:
            return False
        self._set_taken(self._taken + number)
        return True

    def _set_taken(self, taken: int) -> None:
        self._taken = taken
        self.full_at = sys.maxsize - self.size - taken
        while self._waiting:
            self._waiting.popleft().release()

    def _wait(self) -> bool:
        """Wait until the exporter has taken some. The thread that exports would wait for itself."""
        if threading.get_ident() == self._taker:
            return True
        taken, deadline = self._taken, time.monotonic() + _LONGEST_WAIT
        while self.is_full and not self._is_over:
            if not self._waits_its_turn() and self._handed.total - self._taken < 2 * self.size:
                return True
            if taken != self._taken:
                taken, deadline = self._taken, time.monotonic() + _LONGEST_WAIT
            elif time.monotonic() > deadline:
                return self._drop()
        return True

    def _waits_its_turn(self) -> bool:
        """Whether the exporter has taken some in time. A lock of one's own can be waited for anywhere."""
        turn = threading.Lock()
        turn.acquire()
        self._waiting.append(turn)
        return not self.is_full or turn.acquire(timeout=_NUDGE)

    def _drop(self) -> bool:
        if not self._is_over:
            self._dropped.add()
            self._destination.lost(self._signal, names.QUEUE_FULL)
            if time.monotonic() >= self._say_after:
                self._say()
        return False

    def _say(self) -> None:
        self._say_after = time.monotonic() + _MINUTE
        self._said = self._dropped.total
        log.warning(
            "%s takes less than there is: %s %s dropped so far, each of which found the queue full"
            " (%s_MAX_QUEUE_SIZE is %d)",
            self._destination.label,
            f"{self._said:,}",
            WHAT[self._signal],
            BATCHES[self._signal],
            self.size,
        )

    @contextmanager
    def flushing(self) -> Iterator[None]:
        """What was held before and was not taken is lost: an interrupt came between."""
        held = self._handed.total
        yield
        self._lose(held - self._taken)

    def give_up(self) -> None:
        """The time for the end is over: what the exporter has not taken is lost."""
        self._is_over = self._is_given_up = True
        left = self._handed.total - self._taken
        if self._lose(left) and self._destination.failing:
            log.warning(
                "%s: %s %s were left at the end", self._destination.label, f"{left:,}", WHAT[self._signal]
            )

    def _lose(self, number: int) -> bool:
        if number <= 0:
            return False
        self._destination.lost(self._signal, names.EXPORT_FAILED, number)
        self._set_taken(self._taken + number)
        return True

    def end(self) -> None:
        """Nobody waits from now on, and nothing that comes is counted."""
        self._is_over = True
        self._set_taken(self._taken)
        if self._dropped.total > self._said:
            self._say()
