"""What a manager's functions share: the tiers, asked one after the other, and the counting of it all."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING
from weakref import WeakSet, finalize

from codoperf_otel._cache import counts
from codoperf_otel._cache.memory import Memory
from codoperf_otel._cache.scope import Scope
from codoperf_otel._cache.tiers import Item, Place, Tier
from codoperf_otel._context import current_agent

if TYPE_CHECKING:
    from pathlib import Path

    from codoperf_otel._cache.disk import Disk

_making = Lock()


class Store:
    """A memory tier over a disk tier."""

    def __init__(self, name: str, folder: Callable[[], Path], limit: int) -> None:
        self.memory = Memory(limit, partial(_evicted, name, Memory.name))
        finalize(self, self.memory.fold).atexit = False  # the last hits of a store that is dropped count too
        self._name = name
        self._folder = folder
        self._disk: Disk | None = None
        self.scopes: WeakSet[Scope] = WeakSet()
        with counts.lock:
            counts.stores.add(self)

    @property
    def disk(self) -> Disk:
        """The disk tier, whose code is loaded when it is first asked."""
        return self._disk or self._make_disk()

    def _make_disk(self) -> Disk:
        from codoperf_otel._cache.disk import Disk

        with _making:
            self._disk = self._disk or Disk(self._folder, partial(_evicted, self._name, Disk.name))
            return self._disk

    @property
    def tiers(self) -> tuple[Tier, ...]:
        """The tiers, in the order in which they are asked."""
        return self.memory, self.disk

    def add(self, scope: Scope) -> Scope:
        """Keep the entries of that cache here."""
        with counts.lock:
            self.scopes.add(scope)
        return scope

    def find(self, place: Place) -> Item | None:
        """The item of the first tier that has it, and count the look-up."""
        counts.observe()
        agent = current_agent()
        for tier in self.tiers:
            item = tier.get(place)
            if item is not None:
                place.scope.count_hits(agent, tier.name, 1, item.load)
                if tier is not self.memory:
                    self.memory.put(place, item)
                return item
        place.scope.count_miss(agent)
        return None

    def keep(self, place: Place, item: Item) -> None:
        """Put an item into every tier; one without time left only takes the place of the one before."""
        for tier in self.tiers:
            if item.ttl > 0:
                tier.put(place, item)
            else:
                tier.remove(place)

    def clear(self, scope: Scope | None = None) -> None:
        """Forget the entries of one scope, or all."""
        for tier in self.tiers:
            tier.clear(scope)


def _evicted(store: str, tier: str, scope: Scope | None, reason: str, number: int) -> None:
    """Count evictions; of those found by nobody's look-up the store's own name is told."""
    cache = store if scope is None else scope.name
    counts.evictions.add(counts.attributes(cache=cache, tier=tier, reason=reason), number)


def _forked() -> None:
    global _making
    _making = Lock()
    counts.forked()
    for store in list(counts.stores):
        store.memory.forked()
        if store._disk is not None:
            store._disk.forked()
        for scope in list(store.scopes):
            scope.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
