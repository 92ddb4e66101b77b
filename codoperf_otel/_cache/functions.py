"""Cached functions: what stands between a call and its value."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable
from functools import cache, partial
from typing import Any, NamedTuple

from codoperf_otel._cache import addresses
from codoperf_otel._cache.addresses import Function, Pickled
from codoperf_otel._cache.async_loads import AsyncLoad, AsyncRefresh
from codoperf_otel._cache.claims import Claims
from codoperf_otel._cache.explanation import CacheExplanation
from codoperf_otel._cache.flights import Flight
from codoperf_otel._cache.keys import Keys
from codoperf_otel._cache.loads import Load, Refresh
from codoperf_otel._cache.marks import Marks
from codoperf_otel._cache.memory import BATCH
from codoperf_otel._cache.methods import CachedMethod
from codoperf_otel._cache.moments import NOTHING, Moments
from codoperf_otel._cache.namespace import Location, MemoryItem, Namespace
from codoperf_otel._cache.options import Manager, Options
from codoperf_otel._cache.pickling import Unpickled
from codoperf_otel._cache.tiers import Item
from codoperf_otel._calls.context import agent_in
from codoperf_otel._calls.runtime_context import runtime
from codoperf_otel._calls.wrapping import like
from codoperf_otel._telemetry import names


class CacheInfo(NamedTuple):
    """As `functools.lru_cache` returns it; `maxsize` is what all caches of the manager share."""

    hits: int
    misses: int
    maxsize: int
    currsize: int


class FunctionCache:
    """The cache of one function: its namespace in a manager's store, its keys and its TTL."""

    def __init__(
        self,
        func: Callable[..., Any],
        manager: Manager,
        options: Options,
        pickled: Pickled | None = None,
    ) -> None:
        own = f"{getattr(func, '__module__', '?')}.{getattr(func, '__qualname__', repr(func))}"
        self.name = options.prefix or own
        self.func = func
        self.store = manager._store
        self.keys = Keys(func, options.key)
        called = (manager.name, options.prefix)
        function = Function(func, self.name, called, options.version, options.key)
        self._pickled = pickled
        self._explained = cache(
            partial(addresses.explain, function) if pickled is None else lambda: pickled[0]
        )
        state = addresses.state if options.version is None else addresses.owner
        self.namespace = self.store.add(
            Namespace(
                self.name,
                partial(_scope_of, self._explained) if options.disk else _nowhere,
                partial(state, func),
                options.stale_if_error,
                None if pickled is None else pickled.program,
            )
        )
        self.marks = self._marks(options)
        self._manager = manager
        self._options = options
        self.namespace.entries.belongs_to(self, "namespace.entries")

    def __reduce__(self) -> tuple[Any, ...]:
        pickled = self._pickled or Pickled(self._explained(), addresses.program())
        return _again, (_caches.token(self), self.func, self._manager, self._options, pickled)

    def _marks(self, options: Options) -> Marks | None:
        """What is put on spans. None: nothing, and a hit has nothing to do with it."""
        if not (options.span_events or options.span_links):
            return None
        marks = Marks(self.namespace, self.store.memory, events=options.span_events, links=options.span_links)
        marks.belongs_to(self, "marks")
        return marks

    @property
    def get(self) -> Callable[[Hashable], MemoryItem | None]:
        """Finds what memory has, expired or not."""
        return self.namespace.entries.get if self.marks is None else self.marks.get

    @property
    def key(self) -> Callable[..., Any] | None:
        """What makes the keys in place of the arguments, if anything was given."""
        return self._options.key

    @property
    def is_outside(self) -> bool:
        """Whether values are also kept outside memory."""
        return self._options.disk and bool(self.store.behind)

    @property
    def ttl(self) -> float:
        """The seconds for which a value is kept."""
        return self._manager.default_ttl if self._options.ttl is None else self._options.ttl

    def look(self, location: Location) -> Item | None:
        """The item kept there, if any."""
        return self.store.look(location)

    def claims(self, location: Location) -> Claims | None:
        """Where to claim a computation; nowhere, if no other process would have its value."""
        is_shared = self.is_outside and self.ttl and self.namespace.is_shared and location.address
        return self.store.claims if is_shared else None

    def moments(self, location: Location) -> Moments:
        """What other processes see at a key now."""
        return self.store.moments(location) if self.ttl else NOTHING

    def keep(self, location: Location, item: Item, flight: Flight, since: Moments) -> None:
        """Keep what was computed, unless the key was written or the cache cleared meanwhile."""
        self.store.keep(location, item._replace(ttl=self.ttl), flight, since)

    def load_of_coroutine(self, key: Hashable) -> AsyncLoad:
        """One look-up, of a coroutine function."""
        return AsyncLoad(self, key)

    def refresh(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function, and keep its value in place of what is kept."""
        load = Refresh(self, self.keys.make(args, kwargs))
        try:
            with load:
                load.value = self.func(*args, **kwargs)
            return load.value
        finally:
            load.land()

    async def refresh_coroutine(self, *args: Any, **kwargs: Any) -> Any:
        """The same for a coroutine function."""
        load = AsyncRefresh(self, self.keys.make(args, kwargs))
        try:
            async with load:
                load.value = await self.func(*args, **kwargs)
            return load.value
        finally:
            load.land()

    def clear(self) -> None:
        """Forget this function's entries, in memory and on disk. What was counted stays counted."""
        self.store.clear(self.namespace)

    def info(self) -> CacheInfo:
        """Hits, misses, the most entries and the entries in memory."""
        self.store.memory.fold()
        namespace = self.namespace
        return CacheInfo(namespace.hits, namespace.misses, self.store.memory.limit, len(namespace.entries))

    def stats(self) -> dict[str, Any]:
        """The same by name, with the cache's name and its entries on disk."""
        info = self.info()
        return {
            "name": self.namespace.name,
            "hits": info.hits,
            "misses": info.misses,
            "memory_items": info.currsize,
            "max_memory_items": info.maxsize,
            "disk_files": self.store.entries(names.DISK, self.namespace),
        }

    def explain(self) -> CacheExplanation:
        """What the keys of this function cover outside memory."""
        if not self.is_outside:
            return CacheExplanation(self.name, reason="its manager has no tier behind memory")
        return self._explained()._replace(arguments=self.keys.explanation)


def _scope_of(explained: Callable[[], CacheExplanation]) -> str | None:
    return explained().scope


_caches: Unpickled[FunctionCache] = Unpickled()


def _again(
    token: str, func: Callable[..., Any], manager: Manager, options: Options, pickled: Pickled
) -> FunctionCache:
    """The cache of a function that is unpickled. It stays as long as it has entries in memory.

    On disk its place is that of the one that was pickled: the program of this process may be another.
    """

    def make() -> FunctionCache:
        made = FunctionCache(func, manager, options, pickled)
        made.namespace.owner = made
        return made

    return _caches.get(token, make)


def wrap(cache: FunctionCache) -> Callable[..., Any]:
    """The function that answers from the cache where it can."""
    func = cache.func
    if inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func):
        raise TypeError(f"cached_function cannot cache the generator function {func.__qualname__}")
    is_coroutine = _is_coroutine_function(func)
    wrapper = like(func)((_coroutine_wrapper if is_coroutine else _wrapper)(cache))
    offered = {
        "clear": cache.clear,
        "stats": cache.stats,
        "info": cache.info,
        "explain": cache.explain,
        "bypass": func,
        "refresh": cache.refresh_coroutine if is_coroutine else cache.refresh,
    }
    for name, method in offered.items():
        setattr(wrapper, f"cache_{name}", method)
    return CachedMethod(wrapper) if cache.keys.is_method else wrapper


def _nowhere() -> None:
    """The origin of values that stay in memory."""


def _is_coroutine_function(func: Callable[..., Any]) -> bool:
    """Whether its calls are coroutines: its own, or those of its class's ``__call__``."""
    return inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(
        getattr(type(func), "__call__", None)  # noqa: B004
    )


def _wrapper(cache: FunctionCache) -> Callable[..., Any]:
    func, memory, make_key, itself = cache.func, cache.store.memory, cache.keys.make, cache.keys.itself
    # a hit must cost no call that it can do without
    get, clock, log, append = cache.get, memory.clock, memory.log, memory.log.append
    otel, agent_of, length, kind_of, most, load_of = runtime, agent_in, len, type, BATCH, Load  # see `like`

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if length(args) == 1 and kind_of(args[0]) in itself and not kwargs:
            key = args[0]
        else:
            key = make_key(args, kwargs)
        entry = get(key)
        if entry is not None and entry.expires > clock():
            current = otel.get_current  # in two steps: Python 3.11 is slow to call what an attribute holds
            context = current()
            if context and (agent := agent_of(context)) is not None:
                append((entry, agent))
            else:
                append(entry)
            if length(log) >= most:
                memory.fold()
            return entry.value
        load = load_of(cache, key)
        try:
            with load:
                if load.is_missing:
                    load.value = func(*args, **kwargs)
            return load.value
        finally:
            load.land()

    return wrapper


def _coroutine_wrapper(cache: FunctionCache) -> Callable[..., Any]:
    memory, make_key, itself = cache.store.memory, cache.keys.make, cache.keys.itself
    get, clock, log, append = cache.get, memory.clock, memory.log, memory.log.append
    # the fewer variables of a closure, the sooner a coroutine is made: what a miss needs, `cache` has
    otel, agent_of, length, kind_of, most = runtime, agent_in, len, type, BATCH

    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        if length(args) == 1 and kind_of(args[0]) in itself and not kwargs:
            key = args[0]
        else:
            key = make_key(args, kwargs)
        entry = get(key)
        if entry is not None and entry.expires > clock():
            current = otel.get_current  # in two steps: Python 3.11 is slow to call what an attribute holds
            context = current()
            if context and (agent := agent_of(context)) is not None:
                append((entry, agent))
            else:
                append(entry)
            if length(log) >= most:
                memory.fold()
            return entry.value
        load = cache.load_of_coroutine(key)
        try:
            async with load:
                if load.is_missing:
                    load.value = await cache.func(*args, **kwargs)
            return load.value
        finally:
            load.land()

    return wrapper
