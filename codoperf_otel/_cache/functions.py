"""Cached functions: what stands between a call and its value."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

from opentelemetry.context import get_current

from codoperf_otel import _telemetry
from codoperf_otel._cache import addresses
from codoperf_otel._cache.keys import PLAIN, Keys
from codoperf_otel._cache.scope import Scope
from codoperf_otel._cache.store import Store
from codoperf_otel._cache.tiers import Item, Place
from codoperf_otel._context import RECORD_KEY, Record, current_agent
from codoperf_otel._statistics import BATCH, Attributes
from codoperf_otel._telemetry import names

log = logging.getLogger("codoperf_otel.cache")


class CacheInfo(NamedTuple):
    """As `functools.lru_cache` gives it; `maxsize` is what all caches of the manager share."""

    hits: int
    misses: int
    maxsize: int
    currsize: int


class FunctionCache:
    """The cache of one function: its scope in a store, its keys and its TTL."""

    def __init__(
        self,
        func: Callable[..., Any],
        store: Store,
        ttl: Callable[[], float],
        prefix: str | None,
        version: str | None,
    ) -> None:
        name = prefix or f"{getattr(func, '__module__', '?')}.{getattr(func, '__qualname__', repr(func))}"
        state = partial(addresses.state, func) if version is None else _nothing
        self.func = func
        self.store = store
        self.keys = Keys(func)
        self.scope = store.add(Scope(name, partial(addresses.origin, func, prefix, version), state))
        self._ttl = ttl

    def find(self, place: Place) -> Item | None:
        """The item kept there, if any."""
        return self.store.find(place)

    def loading(self, place: Place) -> _Load:
        """A `with` block in which the value that goes there is computed."""
        return _Load(self, place)

    def keep(self, place: Place, value: Any, seconds: float) -> None:
        """Keep a value that took `seconds` to compute."""
        self.store.keep(place, Item(value, self._ttl(), seconds))

    def clear(self) -> None:
        """Forget this function's entries, in memory and on disk. What was counted stays counted."""
        self.store.clear(self.scope)

    def info(self) -> CacheInfo:
        """Hits, misses, the most entries and the entries in memory."""
        self.store.memory.fold()
        scope = self.scope
        return CacheInfo(scope.hits, scope.misses, self.store.memory.limit, len(scope.entries))

    def stats(self) -> dict[str, Any]:
        """The same by name, with the cache's name and its entries on disk."""
        info = self.info()
        return {
            "name": self.scope.name,
            "hits": info.hits,
            "misses": info.misses,
            "memory_items": info.currsize,
            "max_memory_items": info.maxsize,
            "disk_files": self.store.disk.count(self.scope),
        }


class _Load:
    """Measures the computing of a missing value, and keeps the value unless it raised."""

    __slots__ = ("_agent", "_cache", "_place", "_started", "value")

    value: Any

    def __init__(self, cache: FunctionCache, place: Place) -> None:
        self._cache = cache
        self._place = place
        self._agent = current_agent()

    def __enter__(self) -> _Load:
        self._started = perf_counter()
        return self

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        seconds = perf_counter() - self._started
        tally = self._place.scope.tally(self._agent)
        of = tally.load if error is None else tally.failed_load(_telemetry.error_type(error))
        _record(seconds, of)
        if error is None:
            self._cache.keep(self._place, self.value, seconds)


def _record(seconds: float, of: Attributes) -> None:
    try:
        _telemetry.active().histograms[names.CACHE_LOAD_DURATION].record(seconds, of)
    except Exception:
        log.debug("a load's duration is not recorded", exc_info=True)


def _nothing() -> None:
    return None


def wrap(cache: FunctionCache) -> Callable[..., Any]:
    """The function that answers from the cache where it can."""
    func = cache.func
    if inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func):
        raise TypeError(f"cached_function cannot cache the generator function {func.__qualname__}")
    wrapper = (_coroutine_wrapper if inspect.iscoroutinefunction(func) else _wrapper)(cache)
    functools.update_wrapper(wrapper, func)
    for name, method in (("clear", cache.clear), ("stats", cache.stats), ("info", cache.info)):
        setattr(wrapper, f"cache_{name}", method)
    return wrapper


def _wrapper(cache: FunctionCache) -> Callable[..., Any]:
    func, memory, make_key = cache.func, cache.store.memory, cache.keys.make
    itself: frozenset[type] = frozenset() if cache.keys.is_method else PLAIN
    # a hit must cost no call that it can do without
    get, clock, log, append = cache.scope.entries.get, memory.clock, memory.log, memory.log.append

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and type(args[0]) in itself and not kwargs:
            key = args[0]
        else:
            key = make_key(args, kwargs)
        entry = get(key)
        if entry is not None and entry.expires > clock():
            record: Record | None = get_current().get(RECORD_KEY)  # type: ignore[assignment]
            append(entry if record is None or record.agent is None else (entry, record.agent))
            if len(log) >= BATCH:
                memory.fold()
            return entry.value
        place = cache.scope.place(key)
        item = cache.find(place)
        if item is not None:
            return item.value
        with cache.loading(place) as load:
            load.value = func(*args, **kwargs)
        return load.value

    return wrapper


def _coroutine_wrapper(cache: FunctionCache) -> Callable[..., Any]:
    func, memory, make_key, get = cache.func, cache.store.memory, cache.keys.make, cache.scope.entries.get

    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        key = make_key(args, kwargs)
        entry = get(key)
        if entry is not None and entry.expires > memory.clock():
            memory.hit(entry, current_agent())
            return entry.value
        place = cache.scope.place(key)
        item = cache.find(place)
        if item is not None:
            return item.value
        with cache.loading(place) as load:
            load.value = await func(*args, **kwargs)
        return load.value

    return wrapper
