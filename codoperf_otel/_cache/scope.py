"""One cache as users and telemetry see it: a function's, or a manager's own. Several share a store."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cached_property
from typing import TYPE_CHECKING

from codoperf_otel._cache import counts
from codoperf_otel._cache.addresses import NotPortableError, digest
from codoperf_otel._cache.tiers import Place
from codoperf_otel._statistics import Attributes

if TYPE_CHECKING:
    from codoperf_otel._cache.memory import Entry

MAX_AGENTS = 1000


class Tally:
    """The attribute sets of one cache under one agent, made once."""

    __slots__ = ("_agent", "_cache", "hits", "load", "miss")

    def __init__(self, cache: str, agent: str | None) -> None:
        self._cache = cache
        self._agent = agent
        self.miss = counts.attributes(cache=cache, result="miss", agent=agent)
        self.load = counts.attributes(cache=cache, agent=agent)
        self.hits: dict[str, Attributes] = {}

    def hit(self, tier: str) -> Attributes:
        """The attributes of a hit in that tier."""
        if tier not in self.hits:
            self.hits[tier] = counts.attributes(cache=self._cache, result="hit", tier=tier, agent=self._agent)
        return self.hits[tier]

    def failed_load(self, error: str) -> Attributes:
        """The attributes of a load that raised."""
        return counts.attributes(cache=self._cache, agent=self._agent, error=error)


class Scope:
    """A cache's name, its entries in memory, what separates it on disk, and its counts."""

    def __init__(
        self,
        name: str,
        find_origin: Callable[[], str | None],
        state: Callable[[], Hashable] = lambda: None,
    ) -> None:
        self.name = name
        self.entries: dict[Hashable, Entry] = {}
        self._find_origin = find_origin
        self._state = state
        self._tallies: dict[str | None, Tally] = {}
        self.forked()

    @cached_property
    def origin(self) -> str | None:
        """What separates this cache's entries on disk from all others; None: they stay in memory."""
        return self._find_origin()

    def forked(self) -> None:
        """Count anew in a forked child."""
        self.hits = 0
        self.misses = 0

    @property
    def used(self) -> bool:
        """Whether anything was looked up or kept here."""
        return bool(self.hits or self.misses or self.entries)

    def place(self, key: Hashable) -> Place:
        """Where the value of that key is kept."""
        return Place(self, key, self._address(key))

    def _address(self, key: Hashable) -> str | None:
        if self.origin is None:
            return None
        try:
            return digest((self.origin, self._state(), key))
        except NotPortableError:
            return None

    def tally(self, agent: str | None) -> Tally:
        """The attribute sets under an agent."""
        found = self._tallies.get(agent)
        if found is None:
            found = Tally(self.name, agent)
            if len(self._tallies) < MAX_AGENTS:
                self._tallies[agent] = found
        return found

    def count_hits(self, agent: str | None, tier: str, number: int, saved: float | None) -> None:
        """Count hits, and the time their values had taken to compute."""
        tally = self.tally(agent)
        with counts.lock:
            self.hits += number
            counts.lookups.add(tally.hit(tier), number)
            if saved is not None:
                counts.saved_time.add(tally.load, saved)

    def count_miss(self, agent: str | None) -> None:
        """Count a look-up that found nothing."""
        tally = self.tally(agent)
        with counts.lock:
            self.misses += 1
            counts.lookups.add(tally.miss, 1)
