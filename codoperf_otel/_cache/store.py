"""What a manager's functions share: the tiers, asked one after the other, and the counting of it all."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from threading import RLock
from typing import Any
from weakref import finalize

from opentelemetry.metrics import Observation

from codoperf_otel import _forks, _telemetry
from codoperf_otel._cache import counts, moments
from codoperf_otel._cache.claims import Claims
from codoperf_otel._cache.flights import Flight
from codoperf_otel._cache.memory import Memory
from codoperf_otel._cache.moments import NOTHING, Moments
from codoperf_otel._cache.namespace import Location, Namespace
from codoperf_otel._cache.tiers import Item, MakeTier, Tier
from codoperf_otel._cache.turns import Turn, Turns
from codoperf_otel._calls.context import agent_in_force
from codoperf_otel._calls.lineages import before_reading
from codoperf_otel._once import Once
from codoperf_otel._telemetry import names
from codoperf_otel._telemetry.interrupts import raise_interrupt
from codoperf_otel._telemetry.living import Living

log = logging.getLogger("codoperf_otel.cache")

_making = RLock()
_is_first_use = Once()


class Store:
    """Tiers under one name: memory in front, and behind it those that are made when they are first asked."""

    def __init__(
        self,
        name: str,
        limit: int,
        choose: Callable[[], Sequence[MakeTier]],
        max_bytes: int | None = None,
    ) -> None:
        self.memory = Memory(limit, partial(_evicted, name, Memory.name), max_bytes)
        finalize(self, self.memory.fold).atexit = False  # the last hits of a store that is dropped count too
        self._name = name
        self._choose = choose
        self._tiers: tuple[Tier, ...] = ()
        self.turns = Turns()
        self.namespaces: Living[Namespace] = Living()
        _stores.add(self)

    @property
    def behind(self) -> tuple[Tier, ...]:
        """The tiers behind memory."""
        return tuple(tier for tier in self.tiers if tier is not self.memory)

    @property
    def tiers(self) -> tuple[Tier, ...]:
        """The tiers, in the order in which they are asked; those behind memory are made at the first use."""
        return self._tiers or self._make()

    def _make(self) -> tuple[Tier, ...]:
        with _making:
            if not self._tiers:
                behind = (make(partial(_evicted, self._name)) for make in self._choose())
                self._tiers = (self.memory, *behind) if self.memory.limit else tuple(behind)
            return self._tiers

    @property
    def claims(self) -> Claims | None:
        """The claims of the tier that most processes share, if any tier has some."""
        # by name: `isinstance` of a protocol takes 11 µs on Python 3.11, a quarter of what a claim costs
        found: Any = next((tier for tier in reversed(self.behind) if hasattr(tier, "claim")), None)
        return found  # type: ignore[no-any-return]

    def entries(self, tier: str, namespace: Namespace | None = None) -> int:
        """How many entries of a namespace, or of every namespace, the tier of that name keeps."""
        return sum(each.count(namespace) for each in self.tiers if each.name == tier)

    def add(self, namespace: Namespace) -> Namespace:
        """Keep the entries of that cache here."""
        self.namespaces.add(namespace)
        return namespace

    def find(self, location: Location) -> Item | None:
        """The item of the first tier that has it, and count the look-up."""
        found, agent = self.look(location), agent_in_force()
        if found is not None and found.ttl > 0:
            location.namespace.count_hits(agent, found.tier, 1, found.load)
            return found
        location.namespace.count_miss(agent)
        return None

    def look(self, location: Location) -> Item | None:
        """The item of the first tier that has it. Where all that is there has expired: what expired last."""
        if not _is_first_use.is_done:
            _observe()
        turn = self.turns.of(location) if self.memory.limit else None
        count = turn.count if turn is not None else 0
        expired = None
        for tier in self._tiers or self._make():
            item = tier.get(location)
            if item is None:
                continue
            if item.ttl > 0:
                if turn is not None and tier is not self.memory:
                    self._promote(location, item, turn, count)
                return item
            if expired is None or item.ttl > expired.ttl:
                expired = item
        return expired

    def _promote(self, location: Location, item: Item, turn: Turn, count: int) -> None:
        """Put an item into memory, unless its key was written since."""

        def put() -> None:
            if turn.count == count:
                self.memory.put(location, item)

        turn.take(put)
        self.memory.let_go()

    def moments(self, location: Location) -> Moments:
        """What the tiers that processes share keep at a key now."""
        return moments.taken(self.behind, location)

    def keep(
        self, location: Location, item: Item, flight: Flight | None = None, since: Moments = NOTHING
    ) -> None:
        """Put an item into every tier; one without time left only takes the place of the one before.

        The value of a flight is not kept if the cache was cleared meanwhile, or another process has written
        the key or cleared the cache `since`.
        """
        if not _is_first_use.is_done:
            _observe()
        self.turns.of(location).write(partial(self._keep, location, item, flight, since))
        self.memory.let_go()

    def _keep(self, location: Location, item: Item, flight: Flight | None, since: Moments) -> None:
        if flight is None or location.namespace.flights.has(location.key, flight):
            for tier in reversed(self.tiers):
                if item.ttl <= 0:
                    tier.remove(location)
                elif not moments.put(tier, location, item, since):
                    break

    def clear(self, namespace: Namespace | None = None) -> None:
        """Forget the entries of one namespace, or all, and keep nothing of what is being computed."""
        self.turns.write_all(partial(self._clear, namespace))
        self.memory.let_go()

    def _clear(self, namespace: Namespace | None) -> None:
        for tier in reversed(self.tiers):
            tier.clear(namespace)
        for each in self.namespaces if namespace is None else [namespace]:
            each.flights.clear()

    @contextmanager
    def emptied(self, make: MakeTier) -> Iterator[None]:
        """Be empty for a block of code, with that tier in place of those behind memory, if there are any."""
        choose, tiers = self._choose, self._tiers
        self._choose, self._tiers = lambda: [make][: len(choose())], ()
        try:
            self.clear()
            try:
                yield
            finally:
                self.clear()
        finally:
            self._choose, self._tiers = choose, tiers


def _evicted(store: str, tier: str, namespace: Namespace | None, reason: str, number: int) -> None:
    """Count evictions; those that no look-up has found are counted under the store's own name."""
    if namespace is not None:
        namespace.count_evictions(tier, reason, number)
    else:
        counts.evictions.add(counts.attributes(cache=store, tier=tier, reason=reason), number)


_stores: Living[Store] = Living()
"""Every living store: its log is folded before a read, its entries are counted at the read."""


def living() -> list[Store]:
    """Every store that is there."""
    return list(_stores)


def _living() -> list[tuple[Store, list[Namespace]]]:
    """The stores and the caches in use of each."""
    return [(store, [namespace for namespace in store.namespaces if namespace.used]) for store in _stores]


def _observe() -> None:
    """Let the observables read the counts; at the first use of any cache."""
    if _is_first_use():
        for name, source in _SOURCES.items():
            try:
                _telemetry.observe(name, source)
            except Exception as error:
                raise_interrupt(error)
                log.warning("%s is left out", name, exc_info=True)


@before_reading
def _fold() -> None:
    for store in living():
        store.memory.fold()


def _folded(sums: counts.Sums) -> Callable[[], Iterable[Observation]]:
    def source() -> Iterable[Observation]:
        _fold()
        return sums.observations()

    return source


def _entry_count() -> Iterable[Observation]:
    sums = counts.Sums()
    for store, namespaces in _living():
        for namespace in namespaces:
            for tier in store.tiers:
                if tier.counts_at_once:
                    sums.add(counts.attributes(cache=namespace.name, tier=tier.name), tier.count(namespace))
    return sums.observations()


def _size() -> Iterable[Observation]:
    sums = counts.Sums()
    for store, namespaces in _living():
        for namespace in namespaces:
            for tier in store.tiers:
                size = tier.size(namespace)
                if size is not None:
                    sums.add(counts.attributes(cache=namespace.name, tier=tier.name), size)
    return sums.observations()


def _entry_limit() -> Iterable[Observation]:
    limits: dict[tuple[str, int], int] = {}
    for store, namespaces in _living():
        if store.memory.limit:
            limits |= {(namespace.name, id(store)): store.memory.limit for namespace in namespaces}
    sums = counts.Sums()
    for (name, _), limit in limits.items():
        sums.add(counts.attributes(cache=name, tier=Memory.name), limit)
    return sums.observations()


_SOURCES = {
    names.CACHE_LOOKUPS: _folded(counts.lookups),
    names.CACHE_EVICTIONS: counts.evictions.observations,
    names.CACHE_SAVED_TIME: _folded(counts.saved_time),
    names.CACHE_ENTRY_COUNT: _entry_count,
    names.CACHE_ENTRY_LIMIT: _entry_limit,
    names.CACHE_SIZE: _size,
}


@_forks.in_child
def _forked() -> None:
    global _making
    _making = RLock()
    counts.forked()
    for store in _stores:
        store.memory.forked()
        store.turns.forked()
        for tier in store._tiers:
            if tier is not store.memory:
                tier.forked()
        for namespace in store.namespaces:
            namespace.forked()
