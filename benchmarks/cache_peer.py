"""Runs in the environment of `caches`: this package's caches against those of other libraries.

python benchmarks/cache_peer.py PART FOLDER
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from importlib.metadata import version
from itertools import count, cycle
from pathlib import Path
from random import Random
from threading import RLock
from typing import Any

import aiocache
import async_lru
import cachetools
import diskcache
from pairs import CALLS, Measure, cpu_a_call, ratio

from codoperf_otel import CacheManager, DiskTier, cached_function

TTL = 3600
SOME = 1000
ROUNDS = 101
TEXT = "What a model said. " * 53
ANSWER = {"model": "m-1", "text": TEXT[:900], "usage": {"input": 512, "output": 204}}


def _against(them: str, theirs: Callable[[], object], ours: Callable[[], object]) -> str:
    return f"against {them}: {ratio(cpu_a_call(ours), cpu_a_call(theirs), ROUNDS).in_us()}"


def _in_memory(default_ttl: float = TTL) -> CacheManager:
    return CacheManager(disk=False, default_ttl=default_ttl)


def _hits(_: Path) -> Iterator[str]:
    ours, theirs, them = _functions()
    yield "hit, one argument, " + _against(them, lambda: theirs(1), lambda: ours(1))
    yield "hit, two arguments, " + _against(them, lambda: theirs(1, "x"), lambda: ours(1, "x"))
    yield "hit, a keyword, " + _against(them, lambda: theirs(1, tries=3), lambda: ours(1, tries=3))


def _misses(_: Path) -> Iterator[str]:
    ours, theirs, them = _functions()
    numbers = count()
    yield "miss, " + _against(them, lambda: theirs(next(numbers)), lambda: ours(next(numbers)))


def _functions() -> tuple[Callable[..., object], Callable[..., object], str]:
    """A cached function of ours, of theirs, and what theirs is."""

    def work(*args: object, **kwargs: object) -> object:
        return args, kwargs

    theirs = cachetools.cached(cachetools.TTLCache(SOME, TTL), lock=RLock())
    them = f"cachetools {version('cachetools')} @cached(TTLCache(…), lock=RLock())"
    return cached_function(cache_manager=_in_memory())(work), theirs(work), them


def _get(_: Path) -> Iterator[str]:
    manager, cache, lock = _in_memory(), cachetools.TTLCache[str, int](SOME, TTL), RLock()
    manager.set("key", 1)
    cache["key"] = 1

    def get() -> int | None:
        with lock:
            return cache.get("key")

    them = f"TTLCache.get of cachetools {version('cachetools')} under an RLock"
    yield "CacheManager.get, " + _against(them, get, lambda: manager.get("key"))


def _tasks(_: Path) -> Iterator[str]:
    async def work(query: str) -> str:
        return query

    theirs = {
        f"aiocache {version('aiocache')} @cached": aiocache.cached(ttl=TTL)(work),
        f"async-lru {version('async-lru')} @alru_cache": async_lru.alru_cache(SOME, ttl=TTL)(work),
    }
    with asyncio.Runner() as runner:
        ours = _cpu_an_await(runner, cached_function(cache_manager=_in_memory())(work))
        for them, cache in theirs.items():
            pair = ratio(ours, _cpu_an_await(runner, cache), ROUNDS)
            yield f"hit of a coroutine function, against {them}: {pair.in_us()}"


def _cpu_an_await(runner: asyncio.Runner, func: Callable[[str], Coroutine[Any, Any, str]]) -> Measure:
    async def loop() -> float:
        began = time.process_time()
        for _ in range(CALLS):
            await func("x")
        return (time.process_time() - began) / CALLS

    return lambda: runner.run(loop())


def _disk(folder: Path) -> Iterator[str]:
    """Both files are in WAL mode with ``synchronous = NORMAL``: a kill of the process loses nothing."""
    ours = CacheManager(tiers=[DiskTier(folder / "ours")])
    for kind, value in (("bytes", TEXT.encode()), ("text", TEXT), ("a dict", ANSWER)):
        with diskcache.Cache(str(folder / kind)) as theirs:
            yield from _disk_of(ours, theirs, f"1 kB of {kind}", value)


def _disk_of(ours: CacheManager, theirs: diskcache.Cache, what: str, value: object) -> Iterator[str]:
    names = [f"key {number}" for number in range(SOME)]
    them, our_keys, their_keys = f"diskcache {version('diskcache')}", cycle(names), cycle(names)

    def set_ours() -> None:
        ours.set(next(our_keys), value, TTL)

    def set_theirs() -> None:
        theirs.set(next(their_keys), value, expire=TTL)

    for _ in range(SOME):
        set_ours(), set_theirs()
    if not ours.get("key 0") == theirs.get("key 0") == value:
        sys.exit("a value did not come back")
    yield f"get of {what}, " + _against(
        them, lambda: theirs.get(next(their_keys)), lambda: ours.get(next(our_keys))
    )
    yield f"set of {what}, " + _against(them, set_theirs, set_ours)


def _many(folder: Path) -> Iterator[str]:
    """A folder with many entries against one with few; `ENTRIES=1000000` in the environment makes it many."""
    most = int(os.environ.get("ENTRIES", "100000"))
    few, many = (_filled(folder / str(number), number) for number in (SOME, most))
    pair = ratio(*(cpu_a_call(partial(_get_any, *each)) for each in (many, few)), ROUNDS)
    yield f"get among {most} entries, against {SOME}: {pair.in_us()}"
    opened = (partial(_open_anew, each) for each in (folder / str(most), folder / "empty"))
    pair = ratio(*(cpu_a_call(each, 1) for each in opened), ROUNDS)
    yield f"opening a folder of {most} entries, against an empty one: {pair.in_us()}"


def _filled(folder: Path, number: int) -> tuple[CacheManager, int, Random]:
    manager = CacheManager(tiers=[DiskTier(folder, max_bytes=1 << 40)])
    for each in range(number):
        manager.set(f"key {each}", each, TTL)
    return manager, number, Random(1)


def _get_any(manager: CacheManager, number: int, draw: Random) -> None:
    if manager.get(f"key {draw.randrange(number)}") is None:
        sys.exit("an entry is gone")


def _open_anew(folder: Path) -> None:
    CacheManager(tiers=[DiskTier(folder)]).get("key 0")


PARTS = {
    "hits": _hits, "misses": _misses, "get": _get, "tasks": _tasks, "disk": _disk, "many": _many,
}  # fmt: skip

if __name__ == "__main__":
    for line in PARTS[sys.argv[1]](Path(sys.argv[2])):
        print(line, flush=True)
