"""Greenlets share the CPU clock of their thread: here the calls of each get its own CPU time.

Where the module `greenlet` is loaded, every switch of a thread is followed. What was charged in the greenlet
that is left is charged no more, and its clocks stand still until that greenlet runs again. A greenlet begins
with nobody charged, except one of SQLAlchemy's, which runs for the coroutine that switches to it.

greenlet has one trace function per thread, and a program may set its own. A call that was running then has no
CPU figure, nor has one that ran when a switch was missed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

from codoperf_otel._calls.charged import Charged
from codoperf_otel._calls.thread_clock import ThreadClock, thread, thread_local

_modules = sys.modules
_LEFT = "_codoperf_left"
_NOBODY = (None, 0)


class _Switches:
    """The trace function of one thread: what is known of the switches between its greenlets.

    `_here` is the greenlet that was entered last, and `_tracer` the trace function that was set then: this
    one, or another that calls it.
    """

    __slots__ = ("_clock", "_following", "_here", "_known_since_ns", "_library", "_tracer")

    def __init__(self, clock: ThreadClock, library: Any, started_ns: int) -> None:
        self._clock = clock
        self._library = library
        self._trace(started_ns)

    def __call__(self, event: str, switch: tuple[Any, Any]) -> None:
        """Called by greenlet after each switch, in the greenlet that is entered."""
        if event in ("switch", "throw"):
            self._switched(event, *switch)
        if self._following is not None:
            self._following(event, switch)

    def go_on(self, started_ns: int) -> None:
        """When a call begins: trace again if nobody does, as after an exception of a signal handler."""
        if self._library.gettrace() is None:
            self._clock.busy = 0
            self._trace(started_ns)
        self._check(self._library.getcurrent())

    def has_followed(self, started_ns: int) -> bool:
        """Whether every switch since then was noticed."""
        self._check(self._library.getcurrent())
        return started_ns >= self._known_since_ns

    def miss(self) -> None:
        """Know nothing of what has begun."""
        self._known_since_ns = perf_counter_ns()
        self._here = self._library.getcurrent()

    def _trace(self, started_ns: int) -> None:
        self._known_since_ns = started_ns
        self._here = self._library.getcurrent()
        self._following: Callable[..., object] | None = self._library.settrace(self)
        self._tracer = self

    def _check(self, here: Any) -> None:
        if here is not self._here or self._library.gettrace() is not self._tracer:
            self.miss()

    def _switched(self, event: str, left: Any, entered: Any) -> None:
        clock = self._clock
        before, busy_before = clock.current, clock.busy
        if before is not None or busy_before:
            setattr(left, _LEFT, (before, busy_before))
        after, busy = getattr(entered, _LEFT, None) or _NOBODY
        if after is None and before is not None and _runs_for(left, entered):
            after = before
        if event == "throw" and busy_before:  # as where the garbage collector ends a greenlet
            busy = busy_before
        try:
            self._check(left)
            self._tracer = self._library.gettrace()
            if after is not None or busy:
                setattr(entered, _LEFT, None)
            if before is not after:
                clock.charge_to(after)
                _stop_and_go(_chain(before), _chain(after), clock.since_ns)
        finally:
            clock.current, clock.busy = after, busy
            self._here = entered


def _runs_for(left: Any, entered: Any) -> bool:
    """Whether a greenlet runs code for its parent, which switched to it: those of SQLAlchemy have a mark."""
    return entered.parent is left and getattr(entered, "__sqlalchemy_greenlet_provider__", False) is True


def _chain(charged: Charged | None) -> dict[Charged, None]:
    """Who is charged, and those around it from the inside out; as a dict, which keeps its order."""
    chain: dict[Charged, None] = {}
    while charged is not None and charged not in chain:
        chain[charged] = None
        charged = charged.outer
    return chain


def _stop_and_go(left: dict[Charged, None], entered: dict[Charged, None], now: int) -> None:
    """Let the clocks of those that are left stand still, and of those that are entered go on.

    While it stands still, `entered_ns` is what the clock showed, below zero. A scope reads the clock of the
    driven call around it, which may go on meanwhile, so it comes before that one and after it.
    """
    for charged in left:
        if charged not in entered:
            charged.entered_ns -= _shown(charged.driver, now)
    for charged in reversed(entered):
        if charged not in left:
            charged.entered_ns += _shown(charged.driver, now)


def _shown(driver: Charged | None, now: int) -> int:
    return now if driver is None else (driver.cpu_ns or 0) + now - driver.entered_ns


class _Thread(thread_local):  # type: ignore[misc, valid-type]
    switches: _Switches | None = None


_here = _Thread()
_first_followed_ns: float = float("inf")


def follow(started_ns: int) -> None:
    """Follow the switches of this thread, where greenlet is loaded, on behalf of what began then."""
    global _first_followed_ns
    if _here.switches is not None:
        _here.switches.go_on(started_ns)
    elif hasattr(_modules.get("greenlet"), "settrace"):  # not while it is being imported
        _here.switches = _Switches(thread.clock, _modules["greenlet"], started_ns)
        _first_followed_ns = min(_first_followed_ns, started_ns)


def is_own(charged: Charged) -> bool:
    """Whether the CPU time of what ends on this thread is its own, and not another greenlet's as well."""
    if "greenlet" not in _modules:
        return True
    switches = _here.switches
    if switches is None:  # begun on another thread, or before greenlet was loaded
        return charged.started_ns >= _first_followed_ns
    return switches.has_followed(charged.started_ns)


def miss() -> None:
    """What runs on this thread has no figure: something charged ended in a greenlet where it did not run."""
    if _here.switches is not None:
        _here.switches.miss()
