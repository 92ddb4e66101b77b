"""Computations under way. Another caller of the same key waits for the outcome, in a thread or in a task.

A value is kept only if its flight is still in the table when it is written: what clears the cache takes the
flights out. Those who wait get the value all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Lock, RLock, get_ident
from time import monotonic
from typing import Any, TypeGuard

from opentelemetry.context import Context, create_key

from codoperf_otel._cache.deadlocks import waits_for_caller
from codoperf_otel._calls.budget_exceeded import BudgetExceeded
from codoperf_otel._calls.runtime_context import runtime
from codoperf_otel._telemetry.interrupts import is_of_signal_handler, raise_interrupt

PATIENCE = 60.0
"""Seconds. A computation that takes longer may be waiting for the one that waits for it."""

_FIRST_LOOK = 0.1
_LONGEST_LOOK = 1.0

_KEY = create_key("codoperf-flights")


class Mark:
    """Stands for a flight: in the Context of what is part of it, and with those that wait for it."""

    __slots__ = ("awaited",)

    def __init__(self) -> None:
        self.awaited: list[Mark] = []

    def awaits(self, marks: tuple[Mark, ...]) -> bool:
        """Whether this flight waits for one of those, be it through others."""
        seen: set[Mark] = set()
        left = [self]
        while left:
            each = left.pop()
            if each not in seen:
                seen.add(each)
                left += each.awaited
        return not seen.isdisjoint(marks)


class Flight:
    """One computation of a value, and those who wait for it. No lock is shared between them."""

    __slots__ = ("_error", "_mark", "_value", "_wakers", "is_over", "is_settled", "thread")

    def __init__(self) -> None:
        self.thread = get_ident()
        self.is_over = False
        self.is_settled = False
        self._mark = Mark()
        self._value: Any = None
        self._error: Exception | None = None
        self._wakers: list[Callable[[], object]] = []

    @property
    def is_around(self) -> bool:
        """Whether the caller is part of this computation. To wait for it would be to wait for itself."""
        return self._mark in _marks(runtime.get_current())

    def context(self, current: Context) -> Context:
        """The current Context, for what is part of this computation."""
        return Context({**current, _KEY: (*_marks(current), self._mark)})

    def settle(self, value: Any, error: BaseException | None = None) -> None:
        """Note the outcome. What interrupts one thread or task is nobody else's outcome: they try again."""
        if error is None:
            self._value = value
        elif concerns_all(error):
            self._error = error
        else:
            return
        self.is_settled = True

    def end(self) -> None:
        """Wake all who wait."""
        self.is_over = True
        for wake in tuple(self._wakers):
            wake()

    def when_over(self, wake: Callable[[], object]) -> None:
        """Call `wake` at the end, or now; in whatever thread that is, and again where an interrupt came."""
        self._wakers.append(wake)
        if self.is_over:
            wake()

    @contextmanager
    def waited_for(self) -> Iterator[bool]:
        """A block in which the caller waits; False, if this flight waits for one that the caller is part of.

        Of those in a circle the last one finds it, as each is noted before it looks.
        """
        marks = _marks(runtime.get_current())
        for mark in marks:
            mark.awaited.append(self._mark)
        try:
            yield not self._mark.awaits(marks)
        finally:
            for mark in marks:
                mark.awaited.remove(self._mark)

    def wait(self) -> bool:
        """Block this thread until the end. False: it may never come, or not before this thread goes on."""
        with self.waited_for() as may_wait:
            return may_wait and self._wait()

    def _wait(self) -> bool:
        lock = Lock()
        lock.acquire()
        self.when_over(partial(_let_go, lock))
        ends, pause = monotonic() + PATIENCE, _FIRST_LOOK
        while not lock.acquire(timeout=pause):
            if monotonic() > ends or waits_for_caller(self.thread):
                return False
            pause = min(pause * 2, _LONGEST_LOOK)
        return True

    def outcome(self) -> Any:
        """The value.

        Raises:
            Exception: what the computation raised.
        """
        try:
            if self._error is not None:
                raise self._error
            return self._value
        finally:
            del self  # else the error's traceback would hold its own flight


def _let_go(lock: Lock) -> None:
    try:
        lock.release()
    except RuntimeError as error:  # it was let go already
        raise_interrupt(error)


def concerns_all(error: BaseException | None) -> TypeGuard[Exception]:
    """Whether an error is one of the computation, whoever asks; not what stops one caller alone."""
    return (
        isinstance(error, Exception)
        and not isinstance(error, BudgetExceeded)
        and not is_of_signal_handler(error)
    )


def _marks(context: Context) -> tuple[Mark, ...]:
    return context.get(_KEY, ())  # type: ignore[return-value]


class Flights:
    """The flights of one cache by their keys."""

    def __init__(self) -> None:
        self._flying: dict[Hashable, Flight] = {}
        self._lock = RLock()

    def join(self, key: Hashable, flight: Flight) -> Flight:
        """The flight of that key; the given one, where there is none."""
        return self._flying.setdefault(key, flight)

    def has(self, key: Hashable, flight: Flight) -> bool:
        """Whether the flight's value is still to be kept."""
        return self._flying.get(key) is flight

    def replace(self, key: Hashable, flight: Flight, other: Flight | None = None) -> None:
        """Let those to come wait for `flight`, in place of `other` if that is given."""
        with self._lock:
            if other is None or self.has(key, other):
                self._flying[key] = flight

    def land(self, key: Hashable, flight: Flight) -> None:
        """Take a flight out, and wake all who wait for it."""
        try:
            with self._lock:
                if self.has(key, flight):
                    self._flying.pop(key, None)  # a signal handler may have cleared meanwhile
        finally:
            flight.end()

    def clear(self) -> None:
        """Keep nothing of what is under way, and let nobody else join it."""
        with self._lock:
            self._flying.clear()

    def forked(self) -> None:
        """Leave the computations to the parent. Who waited for one of them tries again."""
        left = list(self._flying.values())
        self.__init__()  # type: ignore[misc]
        for flight in left:
            flight.end()
