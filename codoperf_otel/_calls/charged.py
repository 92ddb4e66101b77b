"""Who is charged with CPU time."""

from __future__ import annotations

from typing import Protocol


class Account(Protocol):
    """Where a call is counted: a site under an agent."""

    def add_late(self, self_ns: int) -> None:
        """Add CPU time that is known only after the call."""

    def add_foreign(self, self_ns: int) -> None:
        """Add CPU time of another library's span, which is in its own agent's figures already."""


class Charged:
    """Whoever's code runs on a thread is charged with its CPU time.

    `self_ns` is the time of its own code; `cpu_ns` includes what ran inside, and is None where it is not
    known. `outer` is who was charged before it, and `entered_ns` the clock then. `task` is the task in
    which it began, and `started_ns` when, by `perf_counter_ns`. `driver` belongs to blocks, and to spans of
    other libraries: the driven call, or the task, whose clock they read. `lender` belongs to shares only: the
    call or span that a thread or a task works for. `account` is the nearest call's around. `has_left` is
    true of a span that is charged no more, although it may not have ended: `outer` is then charged in its
    place.
    """

    __slots__ = ("cpu_ns", "entered_ns", "outer", "self_ns", "started_ns", "task")

    cpu_ns: int | None
    entered_ns: int
    outer: Charged | None
    self_ns: int
    started_ns: int
    task: object
    is_block = False
    is_foreign = False
    is_share = False
    has_left = False
    driver: Charged | None = None
    lender: Charged | None = None
    account: Account | None = None

    def leave(self) -> None:
        """Let who was charged before have what is charged to it no more; called where `has_left`."""


class ThreadShare(Charged):
    """What another thread runs for a call: its slices, and the clock that `with` scopes in it read."""

    __slots__ = ("is_open", "lender")

    is_share = True

    def __init__(self, lender: Charged, outer: Charged | None, started_ns: int, task: object) -> None:
        self.lender: Charged | None = lender
        self.outer = outer
        self.started_ns = started_ns
        self.task = task
        self.self_ns = self.entered_ns = 0
        self.cpu_ns = 0
        self.is_open = False

    @property
    def account(self) -> Account | None:  # type: ignore[override]
        """Where the call is counted."""
        return None if self.lender is None else self.lender.account

    def let_go(self, lender: Charged | None) -> None:
        """Keep nothing but its figures, and for whom it worked: a span that it began may still be asked."""
        self.is_open = False
        self.lender = lender
        self.outer = self.task = None


def still_charged(charged: Charged | None) -> Charged | None:
    """Who is charged now where this one was, which may be a span that has left meanwhile."""
    while charged is not None and charged.has_left:
        charged = charged.outer
    return charged


def below_spans(charged: Charged | None) -> Charged | None:
    """The call or block that what is charged works for, spans of other libraries left out."""
    while charged is not None and (charged.is_foreign or charged.is_share):
        charged = charged.lender or charged.outer
    return charged


def is_within(charged: Charged | None, lender: Charged) -> bool:
    """Whether what runs on this thread is in the CPU time of that call or span as it is."""
    while charged is not None:
        if charged is lender or charged.lender is lender:
            return True
        charged = charged.outer
    return False
