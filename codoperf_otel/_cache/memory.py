"""The memory tier: the least recently used entry is evicted first, and a hit takes no lock.

A hit is a look in the namespace's plain dict and one `append` to the log. The log is folded, under the
lock, into the order of use and the counts: every `BATCH` hits, before any eviction and any read.

A signal handler may change everything here between any two calls, be it under the lock: it is the same
thread's. So what is looked at and what is done about it have no call between them, or it does not matter.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from threading import RLock

from codoperf_otel._cache import clocks
from codoperf_otel._cache.namespace import Location, MemoryItem, Namespace
from codoperf_otel._cache.pickling import Log, Part
from codoperf_otel._cache.tiers import Item, OnEvict
from codoperf_otel._cache.weights import weigh
from codoperf_otel._calls.lineages import Lineage
from codoperf_otel._telemetry import names

BATCH = 256


Use = MemoryItem | tuple[MemoryItem, Lineage]
"""An entry that was used, and the agent in force if there was one."""


class Memory(Part):
    """At most `limit` entries of all namespaces together, and `max_bytes` of values unless it is None.

    With a limit of 0 this tier keeps nothing.
    """

    name = names.MEMORY
    counts_at_once = True

    def __init__(self, limit: int, on_evict: OnEvict, max_bytes: int | None = None) -> None:
        self.limit = limit
        self.max_bytes = max_bytes
        self._bytes = 0
        self.clock = clocks.monotonic
        self.log = Log()
        self.log.belongs_to(self, "log")
        self._on_evict = on_evict
        self._order: OrderedDict[MemoryItem, None] = OrderedDict()
        self._dropped: list[MemoryItem] = []
        self._lock = RLock()  # a dropped value's finalizer may call a cached function

    def get(self, location: Location) -> Item | None:
        entry = location.namespace.entries.get(location.key)
        if entry is None:
            return None
        left = entry.expires - self.clock()
        if left <= -location.namespace.grace:
            self._expire(entry)
            return None
        with self._lock:
            self._use(entry)
        return Item(entry.value, left, entry.load, entry.origin, Memory.name)

    def hit(self, entry: MemoryItem, agent: Lineage | None) -> None:
        """Note that an entry, found in its namespace's dict, was used."""
        self.log.append(entry if agent is None else (entry, agent))
        if len(self.log) >= BATCH:
            self.fold()

    def fold(self) -> None:
        """Work the log into the order of use and the counts."""
        with self._lock:
            count = len(self.log)
            batch = self.log[:count]
            del self.log[:count]
            uses = _counted(batch)
            for used in reversed(uses):
                self._use(used[0] if isinstance(used, tuple) else used)
        for used, number in uses.items():
            _count(used, number)

    def put(self, location: Location, item: Item) -> None:
        if not self.limit:
            return
        if self.log:
            self.fold()
        size = 0 if self.max_bytes is None else weigh(item.value, self.max_bytes)
        if self.max_bytes is not None and size > self.max_bytes:
            self.remove(location)
            return
        now = self.clock()
        entry = MemoryItem(location, item.value, item.load, now + item.ttl, item.origin, size)
        entries = location.namespace.entries
        with self._lock:
            replaced = entries.get(location.key)
            self._order[entry] = None
            self._bytes += size  # no call comes in between: an interrupt could, too
            entries[location.key] = entry
            if replaced is not None:
                self._leave(replaced)
                self._dropped.append(replaced)
            evicted = self._evicted()
        self._dropped.extend(evicted)
        for old in evicted:
            self._on_evict(old.namespace, names.EXPIRED if old.expires <= now else names.SIZE, 1)

    def remove(self, location: Location) -> None:
        entry = location.namespace.entries.get(location.key)
        if entry is not None:
            self._drop(entry)
            self._dropped.append(entry)

    def clear(self, namespace: Namespace | None = None) -> None:
        self.fold()
        with self._lock:
            dropped = [entry for entry in list(self._order) if namespace in (None, entry.namespace)]
            for entry in dropped:
                self._drop(entry)
        self._dropped.extend(dropped)

    def let_go(self) -> None:
        """Free what was dropped, without a lock: finalizers of values may wait for other threads."""
        dropped, self._dropped = self._dropped, []
        del dropped

    def count(self, namespace: Namespace | None = None) -> int:
        return len(self._order if namespace is None else namespace.entries)

    def size(self, namespace: Namespace | None = None) -> int | None:
        if self.max_bytes is None:
            return None
        if namespace is None:
            return self._bytes
        entries: list[MemoryItem] = list(namespace.entries.values())
        return sum(entry.size for entry in entries)

    def forked(self) -> None:
        self._lock = RLock()
        self.log.clear()

    def _use(self, entry: MemoryItem) -> None:
        if entry in self._order:
            self._order.move_to_end(entry)

    def _expire(self, entry: MemoryItem) -> None:
        if self._drop(entry):
            self._on_evict(entry.namespace, names.EXPIRED, 1)

    def _evicted(self) -> list[MemoryItem]:
        """Take out what is above the limits."""
        evicted = []
        while len(self._order) > self.limit or (self.max_bytes is not None and self._bytes > self.max_bytes):
            entry = self._first()
            if entry is None:
                break
            if self._drop(entry):
                evicted.append(entry)
        return evicted

    def _first(self) -> MemoryItem | None:
        """The least recently used entry. Only a loop takes it without a call."""
        for entry in self._order:
            return entry
        return None

    def _drop(self, entry: MemoryItem) -> bool:
        """Take an entry out; if several threads do, only one of them gets True."""
        with self._lock:
            self._forget(entry)  # first: what is in the order is still bounded after an interrupt
            return self._leave(entry)

    def _leave(self, entry: MemoryItem) -> bool:
        """Take an entry out of the order; whether it was there."""
        if entry not in self._order:
            return False
        del self._order[entry]
        self._bytes -= entry.size
        return True

    def _forget(self, entry: MemoryItem) -> None:
        entries = entry.namespace.entries
        if entries.get(entry.key) is entry:
            entries.pop(entry.key, None)


def _counted(batch: list[Use]) -> dict[Use, int]:
    """How often each was used, in the order of their last uses, the latest first."""
    if len(set(batch)) > 1:
        return Counter(reversed(batch))
    return dict.fromkeys(batch[:1], len(batch))  # to count a single one would take a tenth of its hits' time


def _count(used: Use, number: int) -> None:
    entry, agent = used if isinstance(used, tuple) else (used, None)
    saved = None if entry.load is None else number * entry.load
    entry.namespace.count_hits(agent, Memory.name, number, saved)
