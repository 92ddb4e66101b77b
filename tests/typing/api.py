# pyright: strict, reportUnnecessaryTypeIgnoreComment=true, reportUnusedFunction=false
"""What type checkers must see of the public API; each ignored line is one that must fail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import assert_type

import codoperf_otel as co


@co.monitor_performance
def plain(left: int, right: str = "") -> float:
    return left + len(right)


@co.monitor_performance("named", memory=True)
async def coroutine(value: int) -> str:
    return str(value)


@co.monitor_performance()
def generator(count: int) -> Iterator[int]:
    yield count


@co.agent("a", version="1")
async def acting(goal: str) -> int:
    return len(goal)


@co.tool("t", type="function")
async def streaming(count: int) -> AsyncIterator[bytes]:
    yield bytes(count)


@co.cached_function
def cached(key: str) -> int:
    return len(key)


@co.cached_function(ttl=60)
async def cached_coroutine(key: str) -> int:
    return len(key)


assert_type(plain(1, right="x"), float)
assert_type(generator(1), Iterator[int])
assert_type(cached("k"), int)
typed: Callable[[str], int] = co.propagate_context(cached)


async def use() -> None:
    assert_type(await coroutine(1), str)
    assert_type(await acting("x"), int)
    assert_type(await cached_coroutine("k"), int)
    async for item in streaming(1):
        assert_type(item, bytes)
    async with co.performance_context("op", shard=1):
        pass
    with co.agent("a"), co.tool("t"):
        pass
    cached.cache_clear()


plain("1")  # type: ignore[arg-type]
plain()  # type: ignore[call-arg]
cached(1)  # type: ignore[arg-type]
co.agent(1)  # type: ignore[arg-type]
co.tool("t", kind="x")  # type: ignore[call-arg]
co.monitor_performance(3)  # type: ignore[call-overload]
co.monitor_performance("n", memory="yes")  # type: ignore[call-overload]
