"""Claims: of all processes that share a tier, one computes a missing value. The others wait for it.

Nobody waits for longer than `PATIENCE`. Who has waited in vain computes for itself.
"""

from __future__ import annotations

from time import monotonic
from typing import Protocol

from codoperf_otel._cache.namespace import Location

PATIENCE = 30.0
"""Seconds. So long a claim holds on a server, too, where nobody sees that its process has died."""

_FIRST_PAUSE = 0.001
_LONGEST_PAUSE = 0.05


class Claims(Protocol):
    """What a tier offers that several processes share. None of it raises for what happens to the medium."""

    def claim(self, location: Location) -> bool:
        """Take the claim of a location. False: another process has it. True where that cannot be known."""
        ...

    def give_back(self, location: Location) -> None:
        """Let others have a claim that this process has."""
        ...


class Claim:
    """One caller's claim: taken, or waited for."""

    __slots__ = ("_claims", "_ends", "_has_ended", "_is_held", "_location", "_pause", "has_waited")

    def __init__(self, claims: Claims, location: Location) -> None:
        self._claims = claims
        self._location = location
        self._ends = monotonic() + PATIENCE
        self._pause = _FIRST_PAUSE
        self._is_held = self._has_ended = False
        self.has_waited = False

    def take(self) -> bool:
        """Whether the caller is to go on: it has the claim, or has waited for long enough."""
        self._is_held = True  # first: an interrupt may come once it is taken
        self._is_held = is_taken = self._claims.claim(self._location)
        if is_taken and self._has_ended:  # the caller was cancelled while this thread asked for it
            self._claims.give_back(self._location)
        return self._is_held or monotonic() > self._ends

    def pause(self) -> float:
        """The seconds until the next try."""
        self.has_waited = True
        self._pause = min(self._pause * 1.5, _LONGEST_PAUSE)
        return self._pause

    def give_back(self) -> None:
        """Let others have it."""
        self._has_ended = True
        if self._is_held:
            self._claims.give_back(self._location)
            self._is_held = False  # last: where an interrupt comes before it, the next try gives it back
