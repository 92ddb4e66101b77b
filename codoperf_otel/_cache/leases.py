"""Claims of the Redis tier: each is a key that ends by itself, as nobody sees there that a process died."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import redis

from codoperf_otel._cache import claims, clocks
from codoperf_otel._cache.namespace import Location

Run = Callable[[Callable[[], Any], Any], Any]


class Leases:
    """The claims of one server. `run` does something there; if that fails it returns its second argument."""

    def __init__(self, run: Run, client: Callable[[], Any], prefix: str) -> None:
        self._run = run
        self._client = client
        self._prefix = prefix
        self._clock = clocks.monotonic
        self.forked()

    def forked(self) -> None:
        """Leave all claims to the parent."""
        self._token = os.urandom(16)
        self._held: dict[str, float] = {}
        self._lost: dict[str, float] = {}

    def claim(self, location: Location) -> bool:
        """Take the claim of a location. False: another process has it. True where that cannot be known."""
        name = self.name_of(location)
        if self._lost:
            self._run(self._give_back_lost, None)
        held = self._held.get(name)
        self._held[name] = self._clock() + claims.PATIENCE  # first: an interrupt may come once it is taken
        taken: bool | None = self._run(lambda: self._take(name), None)
        if not taken:  # another thread of this process may have it
            self._held.pop(name, None)
            if held is not None:
                self._held[name] = held
        if taken is None:
            self._lose(name)
        return taken is not False

    def _take(self, name: str) -> bool | None:
        try:
            return bool(self._client().set(name, self._token, nx=True, px=int(claims.PATIENCE * 1000)))
        except redis.OutOfMemoryError:
            return None

    def give_back(self, location: Location) -> None:
        """Let others have a claim that this process has."""
        name = self.name_of(location)
        if self.holds(name) and self._run(lambda: self._client().delete(name), None) is None:
            self._lose(name)
        self.forget(name)  # last: where an interrupt comes before it, the next try gives it back

    def _lose(self, name: str) -> None:
        """A server that does not answer may carry out later what it was asked, for nobody."""
        self._lost[name] = self._clock() + claims.PATIENCE

    def _give_back_lost(self) -> None:
        names = [name for name in list(self._lost) if name not in self._held]
        tokens = self._client().mget(names) if names else []
        mine = [name for name, token in zip(names, tokens, strict=True) if token == self._token]
        if mine:
            self._client().delete(*mine)
        for name in names:
            if self._lost.get(name, 0) < self._clock():
                self._lost.pop(name, None)

    def holds(self, name: str) -> bool:
        """Whether this process has a claim, whose lease has not ended."""
        return self._held.get(name, 0) > self._clock()

    def forget(self, name: str) -> None:
        """Note that a claim is given back."""
        self._held.pop(name, None)

    def name_of(self, location: Location) -> str:
        """The key that stands for a claim."""
        return f"{self._prefix}-claim:{(location.address or b'').hex()}"
