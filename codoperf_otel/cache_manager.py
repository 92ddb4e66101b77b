"""Caches of values and of functions' results: in memory, on disk, and counted."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Hashable
from functools import cached_property
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from codoperf_otel._cache import keys
from codoperf_otel._cache.functions import CacheInfo, FunctionCache, wrap
from codoperf_otel._cache.scope import Scope
from codoperf_otel._cache.store import Store
from codoperf_otel._cache.tiers import Item
from codoperf_otel._context import current_agent

if TYPE_CHECKING:
    from pathlib import Path

    from codoperf_otel._cache.types import CachedFunction, Decorator

__all__ = [
    "CacheInfo",
    "CacheManager",
    "cached_function",
    "clear_cache",
    "get_cache_stats",
]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")

_MANAGERS_OWN = "codoperf_otel.CacheManager"


class CacheManager:
    """Keeps values in memory and on disk, each for a time to live in seconds.

    Memory holds `max_memory_items`, of which the least recently used goes first. Values that JSON gives
    back exactly (None, bool, int, str, finite float, list and dict of these) are on disk too and survive
    the process, in one SQLite file under `cache_dir` (the user's cache folder where None) that only this
    user can read; others stay in memory. Where the folder or the disk does not allow it, one warning is
    logged and everything stays in memory. `name` is what telemetry calls this cache.

    >>> manager = CacheManager(name="prices")
    >>> manager.get("absent", default=0)
    0

    Raises:
        ValueError: `max_memory_items` is no integer above 0, or `default_ttl` no number from 0 up.
    """

    def __init__(
        self,
        cache_dir: str | os.PathLike[str] | None = None,
        max_memory_items: int = 1000,
        default_ttl: float = 3600,
        *,
        name: str = "default",
    ) -> None:
        if type(max_memory_items) is not int or max_memory_items < 1:
            raise ValueError(f"max_memory_items={max_memory_items!r}: must be an integer above 0")
        self.name = name
        self.default_ttl = _valid_ttl("default_ttl", default_ttl)
        self._given_dir = cache_dir
        self._store = Store(name, lambda: self.cache_dir, max_memory_items)
        self._scope = self._store.add(Scope(name, lambda: _MANAGERS_OWN))

    @property
    def max_memory_items(self) -> int:
        """The most entries in memory."""
        return self._store.memory.limit

    @cached_property
    def cache_dir(self) -> Path:
        """The folder of the entries on disk."""
        from pathlib import Path  # here and below: its import is dear

        return _default_dir() if self._given_dir is None else Path(self._given_dir)

    def get(self, key: Hashable, default: Any = None) -> Any:
        """The value set for `key`, else `default`. Keys of different types are different keys.

        Raises:
            TypeError: `key` is of a type that cannot be a key.
        """
        if type(key) is not str:
            key = keys.encode(key)
        entry = self._scope.entries.get(key)
        memory = self._store.memory
        if entry is not None and entry.expires > memory.clock():
            memory.hit(entry, current_agent())
            return entry.value
        item = self._store.find(self._scope.place(key))
        return default if item is None else item.value

    def set(self, key: Hashable, value: Any, ttl: float | None = None) -> None:
        """Keep `value` for `ttl` seconds (the manager's default where None); 0 keeps nothing.

        Raises:
            TypeError: `key` is of a type that cannot be a key.
            ValueError: `ttl` is no number from 0 up.
        """
        seconds = self.default_ttl if ttl is None else _valid_ttl("ttl", ttl)
        self._store.keep(self._scope.place(keys.encode(key)), Item(value, seconds, None))

    def clear(self) -> None:
        """Forget everything kept here, cached functions' results too, in memory and in `cache_dir`."""
        self._store.clear()

    def get_stats(self) -> dict[str, Any]:
        """Entries in memory and on disk, their limit and folder; hits and misses of `get`."""
        self._store.memory.fold()
        return {
            "memory_items": self._store.memory.count(),
            "max_memory_items": self.max_memory_items,
            "cache_dir": str(self.cache_dir),
            "disk_files": self._store.disk.count(),
            "hits": self._scope.hits,
            "misses": self._scope.misses,
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
) -> Decorator: ...
def cached_function(
    ttl: Any = None,
    cache_key_prefix: str | None = None,
    cache_manager: CacheManager | None = None,
    *,
    version: str | None = None,
) -> Any:
    """Keep what a function or coroutine function returns, by its arguments' values and types.

    `ttl` is in seconds (the manager's default where None; 0 keeps nothing), `cache_manager` the global
    one where None. Telemetry calls the cache `cache_key_prefix`, else ``module.qualname``. Exceptions
    are not kept. `self` counts by identity unless its class has a ``__cache_key__()`` method.

    Results are on disk too if they, the arguments, and the function's defaults and closure allow it.
    An entry on disk belongs to the function's module, name and code, so a changed function begins
    anew; what it calls and the globals it reads are not looked at. With `version` that text counts
    instead of code, defaults and closure.

    >>> @cached_function(ttl=60, cache_manager=CacheManager(name="example"))
    ... def area(shape: frozenset[str]) -> object:
    ...     return object()
    >>> area(frozenset("ab")) is area(frozenset("ba"))
    True
    >>> area.cache_info()
    CacheInfo(hits=1, misses=1, maxsize=1000, currsize=1)

    Raises:
        TypeError: at decoration, for a generator function; at a call, for an argument without a key.
        ValueError: `ttl` is no number from 0 up.
    """
    if callable(ttl):
        return _cached(ttl, None, None, None, None)
    if ttl is not None:
        _valid_ttl("ttl", ttl)
    return lambda func: _cached(func, ttl, cache_key_prefix, cache_manager, version)


def _cached(
    func: Any, ttl: float | None, prefix: str | None, given: CacheManager | None, version: str | None
) -> Any:
    if isinstance(func, (classmethod, staticmethod)):
        return type(func)(_cached(func.__func__, ttl, prefix, given, version))
    manager = _cache_manager if given is None else given
    seconds = (lambda: manager.default_ttl) if ttl is None else (lambda: ttl)
    return wrap(FunctionCache(func, manager._store, seconds, prefix, version))


def _valid_ttl(setting: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise ValueError(f"{setting}={value!r}: must be a number of seconds from 0 up")
    return value


def _default_dir() -> Path:
    import tempfile
    from pathlib import Path

    configured = os.environ.get("XDG_CACHE_HOME", "")
    if Path(configured).is_absolute():  # the specification ignores a relative one
        base = configured
    elif sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    else:
        base = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    try:
        return Path(base).expanduser() / "codoperf-otel"
    except RuntimeError:  # a user without a home
        return Path(tempfile.gettempdir()) / "codoperf-otel"


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
