"""Cached functions that go to another process by value, as those of ``__main__`` and local ones do."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
import textwrap

import cloudpickle
import pytest

from codoperf_otel import cache_manager
from codoperf_otel.agents import agent, tool
from codoperf_otel.cache_manager import CacheManager, DiskTier, MemoryTier, cached_function
from codoperf_otel.performance_monitor import monitor_performance


def again(value):
    """What comes back of it."""
    return cloudpickle.loads(cloudpickle.dumps(value))


@pytest.fixture
def manager(tmp_path):
    """A manager with memory and disk."""
    return CacheManager(tmp_path / "cache", default_ttl=60, name="pickled")


def test_function(manager):
    """It has the same cache as the one that was pickled, with what that kept."""

    @cached_function(cache_manager=manager)
    def f(x):
        return [x]

    kept = f(1)
    other = again(f)
    assert other(1) is kept
    other(2)
    assert f.cache_info() == other.cache_info()
    assert f.cache_info()[:2] == (1, 2)


def test_function_that_calls_itself(manager):
    """Its own name means the cached one."""

    @cached_function(cache_manager=manager)
    def factorial(x):
        return 1 if x < 2 else x * factorial(x - 1)

    assert again(factorial)(4) == 24
    assert factorial.cache_info().misses == 4


def test_coroutine_function(manager):
    """With events, with a key of its own, and with all that it offers."""

    @cached_function(60, "c", manager, key=str.lower, span_events=True, span_links=True)
    async def f(x):
        return [x]

    other = again(f)
    kept = asyncio.run(other("A"))
    assert asyncio.run(f("a")) is kept
    assert asyncio.run(again(f.cache_refresh)("A")) is asyncio.run(f("a"))
    assert asyncio.run(again(f.cache_bypass)("A")) == ["A"]


@pytest.mark.parametrize("other", [monitor_performance, agent, tool])
@pytest.mark.parametrize("is_outer", [False, True])
def test_with_another_decorator(manager, other, is_outer):
    """In either order."""
    cached = cached_function(cache_manager=manager)
    outer, inner = (other, cached) if is_outer else (cached, other)

    @outer
    @inner
    def f(x):
        return [x]

    kept = f(1)
    assert again(f)(1) is kept


def test_methods(manager):
    """Of a class that is pickled by value."""

    class Shop:
        @cached_function(cache_manager=manager)
        def price(self, x):
            return [x]

        @classmethod
        @cached_function(cache_manager=manager)
        def make(cls, x):
            return [x]

    other = again(Shop)()
    assert other.price(1) is other.price(1)
    assert other.make(1) is other.make(1)


def test_managers(manager, tmp_path):
    """One that goes along is one like it, in this process itself; the global one is the global one."""
    assert pickle.loads(pickle.dumps(manager)) is manager
    assert pickle.loads(pickle.dumps(cache_manager._cache_manager)) is cache_manager._cache_manager
    made = CacheManager(tiers=[MemoryTier(5), DiskTier(tmp_path)], default_ttl=7, name="other")
    kind, (token, settings) = made.__reduce__()
    other = kind(f"not {token}", settings)
    assert other is not made
    assert (other.max_memory_items, other.default_ttl, other.name) == (5, 7, "other")
    assert other.cache_dir == tmp_path


def test_function_of_main(tmp_path):
    """What the program kept on disk its workers find, whatever their ``__main__`` is; memory stays."""
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""
            import subprocess, sys, cloudpickle
            from dataclasses import dataclass
            from codoperf_otel import CacheManager, cached_function, monitor_performance

            @cached_function(cache_manager=CacheManager(sys.argv[1]))
            def lookup(x):
                return [repr(x), sys.argv[0]]

            @monitor_performance
            def work(x):
                return lookup(x)

            @dataclass
            class Place:
                name: str

                @classmethod
                @cached_function(cache_manager=CacheManager(sys.argv[1]))
                def named(cls, name):
                    return [name, sys.argv[0]]

            asked = lambda: (work(1), lookup(Place("here")), Place.named("there"))
            kept = asked()
            sys.stdout.buffer.write(cloudpickle.dumps((work, lookup, asked, kept)))
        """)
    )
    worker = textwrap.dedent("""
        import pickle, sys
        sent = sys.stdin.buffer.read()
        work, lookup, asked, kept = pickle.loads(sent)
        assert repr(asked()) == repr(kept)
        assert lookup.cache_info()[:2] == (2, 0)
        assert "program.py" in lookup.cache_explain().place
        del work, lookup, asked
        again = pickle.loads(sent)[1]
        assert again(1) == kept[0]
        assert again.cache_info()[:2] == (3, 0)
    """)
    command = [sys.executable, "-P", program, tmp_path / "cache"]
    sent = subprocess.run(command, check=True, capture_output=True, timeout=60).stdout
    subprocess.run([sys.executable, "-P", "-c", worker], input=sent, check=True, timeout=60)
