"""The memory tier: least recently used goes first, and a hit takes no lock.

A hit is a look in the scope's plain dict and one `append` to the log. The log is folded, under the
lock, into the order of use and the counts: every `BATCH` hits, before any eviction and any read.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from threading import RLock
from typing import Any

from codoperf_otel._cache import clocks
from codoperf_otel._cache.scope import Scope
from codoperf_otel._cache.tiers import EXPIRED, SIZE, Item, OnEvict, Place
from codoperf_otel._statistics import BATCH


class Entry:
    """An item in memory: the reading of the monotonic clock at which it expires in place of its TTL."""

    __slots__ = ("expires", "key", "load", "scope", "value")

    def __init__(self, place: Place, item: Item, expires: float) -> None:
        self.scope = place.scope
        self.key = place.key
        self.value: Any = item.value
        self.load = item.load
        self.expires = expires


Use = Entry | tuple[Entry, str]
"""An entry that was used, and the agent in force if there was one."""


class Memory:
    """At most `limit` entries of all scopes together."""

    name = "memory"

    def __init__(self, limit: int, on_evict: OnEvict) -> None:
        self.limit = limit
        self.clock = clocks.monotonic
        self.log: list[Use] = []
        self._on_evict = on_evict
        self._order: OrderedDict[Entry, None] = OrderedDict()
        self._lock = RLock()  # a dropped value's finalizer may call a cached function

    def get(self, place: Place) -> Item | None:
        entry = place.scope.entries.get(place.key)
        if entry is None:
            return None
        left = entry.expires - self.clock()
        if left <= 0:
            self._expire(entry)
            return None
        with self._lock:
            self._use(entry)
        return Item(entry.value, left, entry.load)

    def hit(self, entry: Entry, agent: str | None) -> None:
        """Note that an entry, found in its scope's dict, was used."""
        self.log.append(entry if agent is None else (entry, agent))
        if len(self.log) >= BATCH:
            self.fold()

    def fold(self) -> None:
        """Work the log into the order of use and the counts."""
        with self._lock:
            count = len(self.log)
            batch = self.log[:count]
            del self.log[:count]
            for used in reversed(list(dict.fromkeys(reversed(batch)))):  # each at its last use
                self._use(used[0] if isinstance(used, tuple) else used)
        for used, number in Counter(batch).items():
            _count(used, number)

    def put(self, place: Place, item: Item) -> None:
        self.fold()
        entry = Entry(place, item, self.clock() + item.ttl)
        with self._lock:
            replaced = place.scope.entries.get(place.key)
            self._order[entry] = None
            place.scope.entries[place.key] = entry
            if replaced is not None:
                self._order.pop(replaced, None)
            evicted = [self._evict_oldest() for _ in range(len(self._order) - self.limit)]
        now = self.clock()
        for old in evicted:
            self._on_evict(old.scope, EXPIRED if old.expires <= now else SIZE, 1)

    def remove(self, place: Place) -> None:
        entry = place.scope.entries.get(place.key)
        if entry is not None:
            self._drop(entry)

    def clear(self, scope: Scope | None = None) -> None:
        self.fold()
        with self._lock:
            dropped = [entry for entry in self._order if scope in (None, entry.scope)]
            for entry in dropped:
                self._drop(entry)

    def count(self, scope: Scope | None = None) -> int:
        return len(self._order if scope is None else scope.entries)

    def forked(self) -> None:
        self._lock = RLock()
        self.log.clear()

    def _use(self, entry: Entry) -> None:
        if entry in self._order:
            self._order.move_to_end(entry)

    def _expire(self, entry: Entry) -> None:
        if self._drop(entry):
            self._on_evict(entry.scope, EXPIRED, 1)

    def _evict_oldest(self) -> Entry:
        entry = next(iter(self._order))
        self._drop(entry)
        return entry

    def _drop(self, entry: Entry) -> bool:
        """Take an entry out; of several threads that do, one is told True."""
        with self._lock:
            known = entry in self._order
            self._order.pop(entry, None)
            if entry.scope.entries.get(entry.key) is entry:
                del entry.scope.entries[entry.key]
            return known


def _count(used: Use, number: int) -> None:
    entry, agent = used if isinstance(used, tuple) else (used, None)
    saved = None if entry.load is None else number * entry.load
    entry.scope.count_hits(agent, Memory.name, number, saved)
