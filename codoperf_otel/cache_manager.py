"""Caches of values and of functions' results: in memory, on disk, and counted."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from codoperf_otel._cache import once_only
from codoperf_otel._cache.chosen_tiers import ChosenTier, DiskTier, MemoryTier, RedisTier, split
from codoperf_otel._cache.explanation import CacheExplanation
from codoperf_otel._cache.functions import CacheInfo, FunctionCache, wrap
from codoperf_otel._cache.keys import key_of_value
from codoperf_otel._cache.namespace import MANAGERS_OWN, Namespace
from codoperf_otel._cache.options import Options
from codoperf_otel._cache.pickling import Unpickled
from codoperf_otel._cache.store import Store
from codoperf_otel._cache.tiers import Item
from codoperf_otel._calls.context import agent_in
from codoperf_otel._calls.runtime_context import runtime
from codoperf_otel._decorating import check_callable
from codoperf_otel._environment_variables import CACHE_DISK, flag, setting_error
from codoperf_otel._telemetry import names

if TYPE_CHECKING:
    from pathlib import Path

    from codoperf_otel._cache.types import CachedFunction, Decorator

__all__ = [
    "CacheExplanation",
    "CacheInfo",
    "CacheManager",
    "DiskTier",
    "MemoryTier",
    "RedisTier",
    "cached_function",
    "clear_cache",
    "get_cache_stats",
]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")


class CacheManager:
    """Keeps values in memory and on disk, each for a time to live in seconds.

    Memory holds `max_memory_items`; the least recently used is evicted first. A value in memory is the very
    object that was set; on disk are copies, which survive the process: texts, bytes and numpy arrays as
    they are, other plain data as JSON, everything else by pickle, signed with a key that only this user can
    read. A value that cannot be written stays in memory. The disk tier is one SQLite file under `cache_dir`
    (the user's cache folder where None), which only this user can read. Where the folder or the disk does
    not allow it, one warning is logged and everything stays in memory.

    `name` is what telemetry calls this cache. With ``disk=False`` everything stays in memory, as with
    ``CODOPERF_OTEL_CACHE_DISK=false`` for those who do not say. `tiers` are chosen in place of these:
    at most one `MemoryTier`, in front, and others behind it.

    >>> manager = CacheManager(name="prices")
    >>> manager.get("absent", default=0)
    0
    >>> CacheManager(tiers=[MemoryTier(10)]).max_memory_items
    10

    Raises:
        TypeError: `cache_dir` is no path.
        ValueError: `max_memory_items` is no integer above 0, `default_ttl` no number from 0 up, or `tiers`
            comes with another choice of tiers, or holds a memory tier behind another.
    """

    def __init__(
        self,
        cache_dir: str | os.PathLike[str] | None = None,
        max_memory_items: int = 1000,
        default_ttl: float = 3600,
        *,
        name: str = "default",
        disk: bool | None = None,
        tiers: Sequence[MemoryTier | ChosenTier] | None = None,
    ) -> None:
        if type(max_memory_items) is not int or max_memory_items < 1:
            raise setting_error("max_memory_items", max_memory_items, "an integer above 0")
        self._made_from = cache_dir, max_memory_items, default_ttl, name, disk, tiers
        self.name = name
        self.default_ttl = _valid_ttl("default_ttl", default_ttl)
        self._disk = DiskTier(cache_dir)
        limit, max_bytes = max_memory_items, None
        if tiers is None:
            choose = lambda: [self._disk.make] if _has_disk(disk) else []  # noqa: E731
        elif cache_dir is None and disk is None:
            limit, max_bytes, behind = split(tiers)
            self._disk = next((tier for tier in behind if isinstance(tier, DiskTier)), self._disk)
            choose = lambda: [tier.make for tier in behind]  # noqa: E731
        else:
            raise setting_error("tiers", tiers, "given without cache_dir and disk")
        self._store = Store(name, limit, choose, max_bytes)
        self._store.memory.belongs_to(self, "_store.memory")
        self._namespace = self._store.add(Namespace(name, lambda: f"{MANAGERS_OWN} {name}"))
        self._entries, self._memory = self._namespace.entries, self._store.memory

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Other processes have a global manager of their own, and one like each other manager."""
        if self is _cache_manager:
            return "_cache_manager"
        return _again, (_managers.token(self), self._made_from)

    @property
    def max_memory_items(self) -> int:
        """The most entries in memory."""
        return self._store.memory.limit

    @property
    def cache_dir(self) -> Path:
        """The folder of the entries on disk."""
        return self._disk.folder

    def get(self, key: Hashable, default: Any = None) -> Any:
        """The value set for `key`, else `default`. Keys of different types are different keys.

        Raises:
            TypeError: `key` is of a type that cannot be a key.
        """
        if type(key) is not str:
            key = key_of_value(key)
        entry, memory = self._entries.get(key), self._memory
        if entry is not None and entry.expires > memory.clock():
            around = runtime.get_current()
            memory.hit(entry, agent_in(around) if around else None)
            return entry.value
        item = self._store.find(self._namespace.location(key))
        return default if item is None else item.value

    def set(self, key: Hashable, value: Any, ttl: float | None = None) -> None:
        """Keep `value` for `ttl` seconds (the manager's default where None); 0 keeps nothing.

        Raises:
            TypeError: `key` is of a type that cannot be a key, or `value` can be used once only.
            ValueError: `ttl` is no number from 0 up.
        """
        once_only.refuse("this value", value)
        seconds = self.default_ttl if ttl is None else _valid_ttl("ttl", ttl)
        self._store.keep(self._namespace.location(key_of_value(key)), Item(value, seconds, None))

    def clear(self) -> None:
        """Forget everything kept here, and in `cache_dir` or on the server what others have there, too."""
        self._store.clear()

    def get_stats(self) -> dict[str, Any]:
        """Entries in memory and on disk, their limit and folder; hits and misses of `get`."""
        self._store.memory.fold()
        return {
            "memory_items": self._store.memory.count(),
            "max_memory_items": self.max_memory_items,
            "cache_dir": str(self.cache_dir),
            "disk_files": self._store.entries(names.DISK),
            "hits": self._namespace.hits,
            "misses": self._namespace.misses,
        }


@overload
def cached_function(ttl: Callable[P, R], /) -> CachedFunction[P, R]: ...
@overload
def cached_function(
    ttl: float | None = None,
    cache_key_prefix: str | None = None,
    cache_manager: CacheManager | None = None,
    *,
    version: str | None = None,
    key: Callable[..., Any] | None = None,
    disk: bool = True,
    stale_if_error: float = 0,
    span_events: bool = False,
    span_links: bool = False,
) -> Decorator: ...
def cached_function(
    ttl: Any = None,
    cache_key_prefix: str | None = None,
    cache_manager: CacheManager | None = None,
    *,
    version: str | None = None,
    key: Callable[..., Any] | None = None,
    disk: bool = True,
    stale_if_error: float = 0,
    span_events: bool = False,
    span_links: bool = False,
) -> Any:
    """Keep what a function or coroutine function returns, by its arguments' values and types.

    `ttl` is in seconds (the manager's default where None; 0 keeps nothing), `cache_manager` the global
    one where None. Telemetry calls the cache `cache_key_prefix`, else ``module.qualname``. Exceptions
    are not kept. Concurrent callers with one key, threads or tasks, wait for one computation and have its
    outcome. `self` counts by identity unless its class has a ``__cache_key__()`` method. Where some
    arguments do not matter, `key` is called with all of them, and what it returns counts in their place.

    Results are on disk too if they, the arguments, and the function's defaults and closure allow it.
    An entry on disk belongs to the function's module and name, and to the code that it reaches: after an
    edit of that code the function starts empty. ``f.cache_explain()`` says what counts. With `version`, that
    text counts instead of code, defaults and closure. With ``disk=False`` results stay in memory.

    With `stale_if_error`, a result that expired at most that many seconds ago is returned where the function
    raises an `Exception`. ``f.cache_refresh(…)`` runs the function and keeps what it returns in place of what
    is kept; ``f.cache_bypass(…)`` runs it and leaves the cache alone.

    With `span_events`, each hit and each miss is an event of the current span. With `span_links`, a hit links
    the current span to the one in which the value was computed, if that was sampled.

    >>> @cached_function(ttl=60, cache_manager=CacheManager(name="example"))
    ... def area(shape: frozenset[str]) -> object:
    ...     return object()
    >>> area(frozenset("ab")) is area(frozenset("ba"))
    True
    >>> area.cache_info()
    CacheInfo(hits=1, misses=1, maxsize=1000, currsize=1)

    >>> @cached_function(key=lambda query, **_: query.lower())
    ... def search(query: str, *, tries: int = 1) -> str:
    ...     return query
    >>> search("Ada"), search("ADA", tries=3)
    ('Ada', 'Ada')

    Raises:
        TypeError: at decoration, for a generator function, for what is not callable, as `key` too, and for a
            `cache_manager` that is none; at a call, for an argument without a key, and for a result that can
            be used once only: an iterator, a coroutine, a future, an open file, a lock.
        ValueError: `ttl` or `stale_if_error` is no number from 0 up.
    """
    manager = _cache_manager if cache_manager is None else cache_manager
    if not isinstance(manager, CacheManager):
        raise TypeError(f"cache_manager is {manager!r}: it must be a CacheManager, or None")
    if key is not None and not callable(key):
        raise TypeError(f"key is {key!r}: it must be a function of the arguments, or None")
    grace = _valid_ttl("stale_if_error", stale_if_error)
    options = Options(None, cache_key_prefix, version, key, disk, grace, span_events, span_links)
    if callable(ttl) or hasattr(ttl, "__get__"):
        return _cached(ttl, manager, options)
    if ttl is not None:
        _valid_ttl("ttl", ttl)
    return lambda func: _cached(func, manager, options._replace(ttl=ttl))


def _cached(func: Any, manager: CacheManager, options: Options) -> Any:
    check_callable("cached_function", func)
    if isinstance(func, (classmethod, staticmethod)):
        return type(func)(_cached(func.__func__, manager, options))
    return wrap(FunctionCache(func, manager, options))


def _has_disk(chosen: bool | None) -> bool:
    """Whether there is a disk tier. The variable is read at the first use, not at this package's import."""
    return flag(CACHE_DISK, True) if chosen is None else chosen


def _valid_ttl(setting: str, value: Any) -> float:
    allowed = "a number of seconds from 0 up"
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise setting_error(setting, value, allowed)
    try:
        return float(value)
    except OverflowError:
        raise setting_error(setting, value, allowed) from None


_managers: Unpickled[CacheManager] = Unpickled()


def _again(token: str, made_from: tuple[Any, ...]) -> CacheManager:
    cache_dir, max_items, ttl, name, disk, tiers = made_from
    return _managers.get(
        token, lambda: CacheManager(cache_dir, max_items, ttl, name=name, disk=disk, tiers=tiers)
    )


_cache_manager = CacheManager()


def clear_cache() -> None:
    """Forget everything that the global manager keeps, in memory and on disk."""
    _cache_manager.clear()


def get_cache_stats() -> dict[str, Any]:
    """`CacheManager.get_stats` of the global manager.

    >>> get_cache_stats()["max_memory_items"]
    1000
    """
    return _cache_manager.get_stats()
