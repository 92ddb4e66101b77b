"""What the caches count, summed by attribute set, and the observables that read it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from threading import RLock
from typing import TYPE_CHECKING
from weakref import WeakSet

from opentelemetry.metrics import Observation

from codoperf_otel import _telemetry
from codoperf_otel._statistics import OVERFLOW, Attributes, attribute_set
from codoperf_otel._telemetry import names

if TYPE_CHECKING:
    from codoperf_otel._cache.scope import Scope
    from codoperf_otel._cache.store import Store

log = logging.getLogger("codoperf_otel.cache")

stores: WeakSet[Store] = WeakSet()
"""Every living store: its log is folded before a read, its entries are counted at the read."""

lock = RLock()  # a value's finalizer may call a cached function while this thread counts
_sets: dict[frozenset[tuple[str, str]], Attributes] = {}
_observed = False


def attributes(**named: str | None) -> Attributes:
    """The one attribute set of these values; None stands for an absent attribute."""
    found = {_NAMES[name]: value for name, value in named.items() if value is not None}
    key = frozenset(found.items())
    with lock:
        if key in _sets:
            return _sets[key]
        taken = attribute_set(found)
        if taken is not OVERFLOW:
            _sets[key] = taken
        return taken


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
        """Add to one set's sum. The set must be one that `attributes` gave."""
        with lock:
            self._cells[id(of)] = (of, self._cells.get(id(of), (of, 0))[1] + amount)

    def clear(self) -> None:
        """Begin anew."""
        self._cells.clear()

    def observations(self) -> Iterator[Observation]:
        """What an observable's callback gives."""
        for of, amount in list(self._cells.values()):
            yield Observation(amount, of)


def living() -> list[tuple[Store, list[Scope]]]:
    """The stores and the caches in use of each."""
    with lock:
        return [(store, [scope for scope in list(store.scopes) if scope.used]) for store in list(stores)]


lookups = Sums()
evictions = Sums()
saved_time = Sums()


def observe() -> None:
    """Let the observables read the counts; at the first look-up of any cache."""
    global _observed
    if not _observed:
        _observed = True
        for name, source in _SOURCES.items():
            try:
                _telemetry.observe(name, source)
            except Exception:
                log.warning("%s is left out", name, exc_info=True)


def _folded(sums: Sums) -> Callable[[], Iterable[Observation]]:
    def source() -> Iterable[Observation]:
        for store, _ in living():
            store.memory.fold()
        return sums.observations()

    return source


def _entry_count() -> Iterable[Observation]:
    sums = Sums()
    for store, scopes in living():
        for scope in scopes:
            for tier in store.tiers:
                sums.add(attributes(cache=scope.name, tier=tier.name), tier.count(scope))
    return sums.observations()


def _entry_limit() -> Iterable[Observation]:
    limits: dict[tuple[str, int], int] = {}
    for store, scopes in living():
        limits |= {(scope.name, id(store)): store.memory.limit for scope in scopes}
    sums = Sums()
    for (name, _), limit in limits.items():
        sums.add(attributes(cache=name, tier="memory"), limit)
    return sums.observations()


_SOURCES = {
    names.CACHE_LOOKUPS: _folded(lookups),
    names.CACHE_EVICTIONS: evictions.observations,
    names.CACHE_SAVED_TIME: _folded(saved_time),
    names.CACHE_ENTRY_COUNT: _entry_count,
    names.CACHE_ENTRY_LIMIT: _entry_limit,
}


def forked() -> None:
    """Begin anew in a forked child; the lock may have been held by a thread that is gone."""
    global lock
    lock = RLock()
    for sums in (lookups, evictions, saved_time):
        sums.clear()
