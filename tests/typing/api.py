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


@co.workflow
def bare_workflow(goal: str) -> int:
    return len(goal)


@co.workflow("w")
def named_workflow(goal: str) -> int:
    return len(goal)


@co.tool
def bare_tool(query: str, *, limit: int = 3) -> list[str]:
    return [query] * limit


@co.agent
async def bare_agent(goal: str) -> int:
    return len(goal)


@co.tool(description="d")
def nameless_tool(query: str) -> int:
    return len(query)


@co.agent(version="2")
def nameless_agent(goal: str) -> Iterator[str]:
    yield goal


@co.performance_context("op", shard=1)
def in_operation(key: str) -> int:
    return len(key)


@co.track_resource_usage("op")
async def tracked(key: str) -> int:
    return len(key)


@co.profile_memory_usage
def profiled(key: str) -> int:
    return len(key)


class Methods:
    @co.monitor_performance
    def method(self, key: str) -> int:
        return len(key)

    @co.tool
    def search(self, key: str) -> int:
        return len(key)

    @co.cached_function
    def keep(self, key: str) -> int:
        return len(key)

    @classmethod
    @co.agent
    def make(cls, key: str) -> int:
        return len(key)


@co.cached_function
def cached(key: str) -> int:
    return len(key)


@co.cached_function(ttl=60, disk=False, stale_if_error=30)
async def cached_coroutine(key: str) -> int:
    return len(key)


assert_type(plain(1, right="x"), float)
assert_type(generator(1), Iterator[int])
assert_type(cached("k"), int)
assert_type(cached.cache_refresh("k"), int)
assert_type(cached.cache_bypass("k"), int)
assert_type(bare_tool("q", limit=1), list[str])
assert_type(nameless_tool("q"), int)
assert_type(bare_workflow("g"), int)
assert_type(named_workflow("g"), int)
assert_type(nameless_agent("g"), Iterator[str])
assert_type(in_operation("k"), int)
assert_type(profiled("k"), int)
assert_type(Methods().method("k"), int)
assert_type(Methods().search("k"), int)
assert_type(Methods().keep("k"), int)
assert_type(Methods().keep.cache_refresh("k"), int)
assert_type(Methods.keep.cache_bypass(Methods(), "k"), int)
assert_type(Methods.make("k"), int)
typed: Callable[[str], int] = co.propagate_context(cached)


async def use() -> None:
    assert_type(await coroutine(1), str)
    assert_type(await acting("x"), int)
    assert_type(await cached_coroutine("k"), int)
    assert_type(await cached_coroutine.cache_refresh(key="k"), int)
    assert_type(await cached_coroutine.cache_bypass("k"), int)
    assert_type(await bare_agent("x"), int)
    assert_type(await tracked("k"), int)
    async for item in streaming(1):
        assert_type(item, bytes)
    async with co.performance_context("op", shard=1):
        pass
    with co.agent("a"), co.tool("t"):
        pass
    cached.cache_clear()
    with co.agent("b", budget=co.Budget(cpu_s=1, tool_calls=3, action="record")):
        pass
    report = co.agent_report()
    assert_type(report, co.AgentReport)
    assert_type(report.agents, tuple[co.AgentUsage, ...])
    assert_type(report.agents[0].own, co.AgentFigures)
    assert_type(report.to_prompt(max_chars=500), str)


plain("1")  # type: ignore[arg-type]
plain()  # type: ignore[call-arg]
cached(1)  # type: ignore[arg-type]
cached.cache_refresh(1)  # type: ignore[arg-type]
cached.cache_bypass()  # type: ignore[call-arg]
Methods().keep.cache_refresh(1)  # type: ignore[arg-type]
Methods.keep.cache_refresh("k")  # type: ignore[call-arg, arg-type]
co.cached_function(stale_if_error="60")  # type: ignore[call-overload]
bare_tool(1)  # type: ignore[arg-type]
bare_tool("q", depth=1)  # type: ignore[call-arg]
nameless_tool()  # type: ignore[call-arg]
bare_workflow(1)  # type: ignore[arg-type]
named_workflow()  # type: ignore[call-arg]
co.workflow("w", description="d")  # type: ignore[call-overload]
in_operation(1)  # type: ignore[arg-type]
profiled()  # type: ignore[call-arg]
co.agent(1)  # type: ignore[call-overload]
co.Budget(1)  # type: ignore[call-arg]
co.Budget(cpu_s=1, action="stop")  # type: ignore[arg-type]
co.agent(plain, version="2")  # type: ignore[call-overload]
co.agent(b"a")  # type: ignore[call-overload]
co.tool("t", kind="x")  # type: ignore[call-overload]
co.performance_context()  # type: ignore[call-arg]
co.track_resource_usage(None)  # type: ignore[arg-type]
with co.tool():  # type: ignore[attr-defined]
    pass
co.monitor_performance(3)  # type: ignore[call-overload]
co.monitor_performance("n", memory="yes")  # type: ignore[call-overload]
