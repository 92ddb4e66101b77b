"""Shares: what threads and tasks run for a call, or for a span of another library, and how it is added."""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock

from codoperf_otel import _forks
from codoperf_otel._calls.charged import Charged

_MOST_PARTS = 100

_lock = RLock()


class Shares:
    """What has been run for one call or span. It takes no lock, which a forked child could find taken.

    `add` keeps the self and the CPU time of what has ended. It is not Python code, in which an exception of
    a signal handler could leave it half done. `settle` follows it.
    """

    __slots__ = ("_is_closed", "_parts", "add")

    add: Callable[[tuple[int, int]], None]

    def __init__(self) -> None:
        self._is_closed = False
        self._parts: list[tuple[int, int]] = []
        self.add = self._parts.append

    def settle(self, lender: Lender) -> None:
        """Keep few parts, and none where the lender has ended: it gets them late."""
        if len(self._parts) > _MOST_PARTS:
            self._parts.append(self.take())
        if self._is_closed:
            lender.add_late(*self.take())

    def close(self) -> tuple[int, int]:
        """At the end of the lender: the sums of what was added. What is added later comes late."""
        self._is_closed = True
        return self.take()

    def self_ns(self) -> int:
        """What was added and not taken yet."""
        return sum(part[0] for part in list(self._parts))

    def take(self) -> tuple[int, int]:
        """The sums of what was added, each part once, whoever asks first."""
        self_ns = cpu_ns = 0
        while self._parts:
            try:
                part = self._parts.pop()
            except IndexError:  # another thread has taken the last one
                break
            self_ns += part[0]
            cpu_ns += part[1]
        return self_ns, cpu_ns


class NoShares(Shares):
    """The CPU time of this process is not that of another's call."""

    __slots__ = ()

    def settle(self, lender: Lender) -> None:  # noqa: ARG002
        """Drop it."""
        self.take()


class Lender(Charged):
    """Whoever may have something run by other threads and tasks: a call, or a span of another library."""

    __slots__ = ("shares",)

    shares: Shares | None

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return not self.has_left

    def gather_shares(self) -> None:
        """At its end: have what was run for it."""
        if self.shares is not None:
            self_ns, cpu_ns = self.shares.close()
            self.self_ns += self_ns
            if self.cpu_ns is not None:
                self.cpu_ns += cpu_ns

    def add_late(self, self_ns: int, cpu_ns: int) -> None:  # noqa: ARG002
        """Add what was run for it and comes after its end: to its account."""
        if self.account is not None:
            self.account.add_late(self_ns)


def lender_of(charged: Charged | None) -> Lender | None:
    """For whom this one works: itself, unless it is a share, or a span that has left."""
    while charged is not None:
        if isinstance(charged, Lender) and not charged.has_left:
            return charged
        charged = charged.outer if charged.has_left else charged.lender
    return None


def prepare(lender: Lender, is_ending: bool = False) -> Shares:
    """Let a call or span have what is run for it. One that has ended has it in its metrics only.

    One that is ending still takes what the spans that were left open in it hand on.
    """
    with _lock:
        if lender.shares is None:
            lender.shares = Shares()
            if not (is_ending or lender.is_running):
                lender.shares.close()
        return lender.shares


def lend(charged: Charged | None, self_ns: int, cpu_ns: int) -> None:
    """Add what has been run for this one to the call or span that it belongs to by now, if to any."""
    lender = lender_of(charged)
    if lender is not None:
        shares = lender.shares or prepare(lender)
        shares.add((self_ns, cpu_ns))
        shares.settle(lender)


@_forks.in_child
def _forked() -> None:
    global _lock
    _lock = RLock()
