"""What the caches count, summed by attribute set."""

from __future__ import annotations

from collections.abc import Iterator
from threading import RLock

from opentelemetry.metrics import Observation

from codoperf_otel._calls.lineages import LOOKUPS, SAVED_NS, Lineage
from codoperf_otel._telemetry import names
from codoperf_otel._telemetry.attribute_sets import Attributes, AttributeSets
from codoperf_otel._telemetry.attributes import NANOSECOND_DIGITS

lock = RLock()  # a value's finalizer may call a cached function while this thread counts
_sets = AttributeSets()


def attributes(**named: str | None) -> Attributes:
    """The one attribute set of these values; None stands for an absent attribute."""
    found = {_NAMES[name]: value for name, value in named.items() if value is not None}
    return _sets.get(frozenset(found.items()), found)


_NAMES = {
    "cache": names.CACHE_NAME,
    "result": names.CACHE_RESULT,
    "tier": names.CACHE_TIER,
    "reason": names.CACHE_EVICTION_REASON,
    "agent": names.GEN_AI_AGENT_NAME,
    "error": names.ERROR_TYPE,
}


class Sums:
    """Numbers by attribute set; sets without a place of their own share the overflow's sum."""

    def __init__(self) -> None:
        self._cells: dict[int, tuple[Attributes, float]] = {}

    def add(self, of: Attributes, amount: float) -> None:
        """Add to one set's sum. The set must be one that `attributes` returned."""
        cells, cell = self._cells, id(of)
        with lock:
            # without a call: a signal handler that counts could come in between
            cells[cell] = (of, cells[cell][1] + amount if cell in cells else amount)

    def clear(self) -> None:
        """Forget all sums."""
        self._cells.clear()

    def observations(self) -> Iterator[Observation]:
        """What an observable's callback returns."""
        for of, amount in list(self._cells.values()):
            yield Observation(round(amount, NANOSECOND_DIGITS), of)


lookups = Sums()
evictions = Sums()
saved_time = Sums()


class Tally:
    """The attribute sets of one cache under one agent, made once, and the agent's own counts."""

    __slots__ = ("_agent", "_cache", "_lineage", "coalesced", "hits", "load", "miss", "stale")

    def __init__(self, cache: str, lineage: Lineage | None) -> None:
        agent = None if lineage is None else lineage.name
        self._cache = cache
        self._agent = agent
        self._lineage = lineage
        self.miss = attributes(cache=cache, result=names.MISS, agent=agent)
        self.coalesced = attributes(cache=cache, result=names.COALESCED, agent=agent)
        self.stale = attributes(cache=cache, result=names.STALE, agent=agent)
        self.load = attributes(cache=cache, agent=agent)
        self.hits: dict[str, Attributes] = {}

    def hit(self, tier: str) -> Attributes:
        """The attributes of a hit in that tier."""
        if tier not in self.hits:
            self.hits[tier] = attributes(cache=self._cache, result=names.HIT, tier=tier, agent=self._agent)
        return self.hits[tier]

    def count(self, result: str, number: int, saved: float | None = None) -> None:
        """Count look-ups for the agent, and the time in seconds that they saved."""
        if self._lineage is not None:
            self._lineage.add(LOOKUPS[result], number)
            if saved is not None:
                self._lineage.add(SAVED_NS, round(saved * 1e9))

    def failed_load(self, error: str) -> Attributes:
        """The attributes of a load that raised."""
        return attributes(cache=self._cache, agent=self._agent, error=error)


def forked() -> None:
    """Start from zero in a forked child; a thread that is gone may have held the lock."""
    global lock
    lock = RLock()
    for sums in (lookups, evictions, saved_time):
        sums.clear()
