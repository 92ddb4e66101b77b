"""One cache as users and telemetry see it: a function's, or a manager's own. Several share a store."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from hashlib import sha256
from types import EllipsisType
from typing import Any

from codoperf_otel._cache import counts
from codoperf_otel._cache.digests import NotPortableError, portable
from codoperf_otel._cache.flights import Flights
from codoperf_otel._cache.pickling import Entries
from codoperf_otel._calls.lineages import Lineage
from codoperf_otel._once import LateAttribute
from codoperf_otel._telemetry import names
from codoperf_otel._telemetry.attribute_sets import Attributes

MAX_AGENTS = 1000
MANAGERS_OWN = "codoperf_otel.CacheManager"
"""What the scopes of managers' own entries begin with."""


class Location:
    """Where a value is kept: its namespace, its key there, and its address in tiers outside this process."""

    __slots__ = ("_address", "key", "namespace")

    def __init__(self, namespace: Namespace, key: Hashable) -> None:
        self.namespace = namespace
        self.key = key
        self._address: bytes | EllipsisType | None = ...

    @property
    def address(self) -> bytes | None:
        """A digest that other processes make too; None for a value that stays in memory."""
        if self._address is ...:
            self._address = self.namespace.address(self.key)
        return self._address


class MemoryItem:
    """An item in memory, with the time on the monotonic clock at which it expires, and what it weighs."""

    __slots__ = ("expires", "key", "load", "namespace", "origin", "size", "value")

    def __init__(
        self, location: Location, value: Any, load: float | None, expires: float, origin: bytes, size: int
    ) -> None:
        self.namespace = location.namespace
        self.key = location.key
        self.value = value
        self.load = load
        self.expires = expires
        self.origin = origin
        self.size = size


class Namespace:
    """A cache's name, its entries in memory, what separates it on disk, and its counts.

    `grace` is how many seconds an expired entry may still stand in for an error. `program` is the file of the
    program in which the function was pickled. `is_shared` is False once a value could not be written outside
    this process.
    """

    def __init__(
        self,
        name: str,
        find_origin: Callable[[], str | None],
        state: Callable[[], Hashable] | None = None,
        grace: float = 0,
        program: str | None = None,
    ) -> None:
        self.name = name
        self.grace = grace
        self.is_shared = True
        self.owner: object = None
        self.entries = Entries()
        self.flights = Flights()
        self._find_origin = find_origin
        self._state = state
        self._program = program
        self.forked()

    @LateAttribute
    def origin(self) -> str | None:
        """What separates this cache's entries on disk from all others; None: they stay in memory."""
        return self._find_origin()

    @LateAttribute
    def _place(self) -> bytes | None:
        return None if self.origin is None else portable(self.origin)

    def forked(self) -> None:
        """Count from zero in a forked child."""
        self.flights.forked()
        self.hits = 0
        self.misses = 0
        self._tallies: dict[Lineage | None, counts.Tally] = {}
        self._evicted: dict[tuple[str, str], Attributes] = {}

    @property
    def used(self) -> bool:
        """Whether anything was looked up or kept here."""
        return bool(self.misses or self.hits or self.entries)

    def location(self, key: Hashable) -> Location:
        """Where the value of that key is kept."""
        return Location(self, key)

    def address(self, key: Hashable) -> bytes | None:
        """The digest of a key, of this cache and of what decides its values; None where there is none."""
        place = self._place
        if place is None:
            return None
        try:
            if self._state is not None:
                place += portable(self._state(), self._program)
            return sha256(place + portable(key, self._program)).digest()
        except NotPortableError:
            return None

    def tally(self, agent: Lineage | None) -> counts.Tally:
        """The attribute sets under an agent."""
        found = self._tallies.get(agent)
        if found is None:
            found = counts.Tally(self.name, agent)
            if len(self._tallies) < MAX_AGENTS:
                self._tallies[agent] = found
        return found

    def count_hits(self, agent: Lineage | None, tier: str, number: int, saved: float | None) -> None:
        """Count hits, and the time their values had taken to compute."""
        tally = self._tallies.get(agent) or self.tally(agent)
        tally.count(names.HIT, number, saved)
        with counts.lock:
            self.hits += number
            counts.lookups.add(tally.hits.get(tier) or tally.hit(tier), number)
            if saved is not None:
                counts.saved_time.add(tally.load, saved)

    def count_miss(self, agent: Lineage | None, *, stale: bool = False) -> None:
        """Count a look-up that found nothing, or only an expired value that stood in for an error."""
        tally = self.tally(agent)
        tally.count(names.STALE if stale else names.MISS, 1)
        with counts.lock:
            self.misses += 1
            counts.lookups.add(tally.stale if stale else tally.miss, 1)

    def count_evictions(self, tier: str, reason: str, number: int) -> None:
        """Count entries that a tier has removed."""
        of = self._evicted.get((tier, reason))
        if of is None:
            of = counts.attributes(cache=self.name, tier=tier, reason=reason)
            self._evicted[tier, reason] = of
        counts.evictions.add(of, number)

    def count_coalesced(self, agent: Lineage | None) -> None:
        """Count a look-up that waited for another caller's computation."""
        tally = self.tally(agent)
        tally.count(names.COALESCED, 1)
        counts.lookups.add(tally.coalesced, 1)
