"""What a program can ask of one call or one function: a fresh value, an expired one, none from the disk."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from cache_counts import lookups

from codoperf_otel._cache import clocks
from codoperf_otel._telemetry import names
from codoperf_otel.cache_manager import CacheManager, DiskTier, MemoryTier, RedisTier, cached_function

LIMIT = 20.0


class Clock:
    """Both clocks, which go on when they are told to."""

    now = 1e9

    def __call__(self):
        """The time."""
        return self.now


@pytest.fixture
def clock(monkeypatch):
    """The clocks of what a test makes."""
    made = Clock()
    monkeypatch.setattr(clocks, "monotonic", made)
    monkeypatch.setattr(clocks, "wall", made)
    return made


@pytest.fixture(params=[False, True], ids=["function", "coroutine"])
def call(request):
    """Calls a function that is one, or that `kind` made a coroutine function."""

    def call(function, *args):
        found = function(*args)
        return asyncio.run(found) if inspect.isawaitable(found) else found

    def kind(function):
        async def coroutine(*args):
            return function(*args)

        return coroutine if request.param else function

    call.kind = kind
    return call


@pytest.fixture
def name(request):
    """A cache's name that no other test uses."""
    return request.node.nodeid


class Unsteady:
    """Returns how often it was called, or raises what it is given."""

    error = None
    calls = 0

    def __cache_key__(self):
        """All are one to the disk."""
        return "unsteady"

    def __call__(self, x):
        """Count, and return or raise."""
        self.calls += 1
        if self.error is not None:
            raise self.error
        return [x, self.calls]


class TestRefresh:
    """``f.cache_refresh`` and ``f.cache_bypass``."""

    def test_refresh_replaces(self, call, tmp_path, telemetry, name):
        """The new value is kept in every tier; the load is measured, and no look-up is counted."""
        unsteady = Unsteady()

        def cached():
            decorate = cached_function(60, name, CacheManager(tmp_path), version="1")
            return decorate(call.kind(unsteady.__call__))

        f = cached()
        assert call(f, 1) == [1, 1]
        assert call(f.cache_refresh, 1) == [1, 2]
        assert call(f, 1) == [1, 2]
        assert lookups(telemetry, name) == {"miss": 1, "hit": 1}
        loads = telemetry.values(names.CACHE_LOAD_DURATION)
        assert loads[frozenset({(names.CACHE_NAME, name)})] == 2
        assert call(cached(), 1) == [1, 2]

    def test_refresh_that_fails(self, call):
        """Its exception is raised, and the value before stays."""
        unsteady = Unsteady()
        f = cached_function(cache_manager=CacheManager(disk=False))(call.kind(unsteady.__call__))
        call(f, 1)
        unsteady.error = LookupError()
        with pytest.raises(LookupError):
            call(f.cache_refresh, 1)
        assert call(f, 1) == [1, 1]

    def test_bypass_leaves_the_cache_alone(self, call, telemetry, name):
        """The function runs; nothing is looked up, kept or counted."""
        unsteady = Unsteady()
        f = cached_function(60, name, CacheManager(disk=False))(call.kind(unsteady.__call__))
        assert call(f.cache_bypass, 1) == [1, 1]
        assert call(f, 1) == [1, 2]
        assert call(f.cache_bypass, 1) == [1, 3]
        assert call(f, 1) == [1, 2]
        assert lookups(telemetry, name) == {"miss": 1, "hit": 1}

    def test_who_comes_meanwhile_waits_for_the_refresh(self):
        """An older computation is returned to its callers and not kept."""
        entered, go = [threading.Event(), threading.Event()], [threading.Event(), threading.Event()]
        calls = iter(range(2))

        @cached_function(cache_manager=CacheManager(disk=False))
        def f():
            number = next(calls)
            entered[number].set()
            assert go[number].wait(LIMIT)
            return number

        with ThreadPoolExecutor(3) as pool:
            older = pool.submit(f)
            assert entered[0].wait(LIMIT)
            newer = pool.submit(f.cache_refresh)
            assert entered[1].wait(LIMIT)
            meanwhile = pool.submit(f)
            go[1].set()
            assert newer.result(LIMIT) == meanwhile.result(LIMIT) == 1
            go[0].set()
            assert older.result(LIMIT) == 0
        assert f() == 1


class TestStaleIfError:
    """``stale_if_error``."""

    @pytest.fixture(params=["memory", "disk", "redis"])
    def make(self, request, tmp_path):
        """Makes a manager with that tier alone, under a hand-set clock."""

        def make():
            if request.param == "redis":
                url = request.getfixturevalue("valkey").url
                return CacheManager(tiers=[RedisTier(url, timeout=5, prefix=os.urandom(4).hex())])
            return CacheManager(tiers=[DiskTier(tmp_path) if request.param == "disk" else MemoryTier()])

        return make

    def test_an_expired_value_stands_in(self, call, make, clock, telemetry, name):
        """In the place of an error only, for so many seconds, counted as stale."""
        unsteady = Unsteady()

        decorate = cached_function(60, name, make(), stale_if_error=30, version="1")
        f = decorate(call.kind(unsteady.__call__))
        assert call(f, 1) == [1, 1]
        clock.now += 70
        unsteady.error = LookupError()
        assert call(f, 1) == [1, 1]
        unsteady.error = None
        assert call(f, 1) == [1, 3]
        clock.now += 95
        unsteady.error = LookupError()
        with pytest.raises(LookupError):
            call(f, 1)
        assert lookups(telemetry, name) == {"miss": 3, "stale": 1}
        assert f.cache_info().misses == 4

    def test_not_for_an_interrupt(self, clock):
        """What is no `Exception` is never replaced, nor what the function may not return."""
        unsteady = Unsteady()
        f = cached_function(60, cache_manager=CacheManager(disk=False), stale_if_error=30)(unsteady.__call__)
        f(1)
        clock.now += 70
        unsteady.error = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            f(1)

    def test_not_for_a_time_out(self, clock):
        """Nor what a signal handler raises."""
        unsteady = Unsteady()

        def interrupted(x):
            if clock.now > 1e9:
                signal.raise_signal(signal.SIGINT)
            return unsteady(x)

        def handler(*_):
            raise TimeoutError

        f = cached_function(60, cache_manager=CacheManager(disk=False), stale_if_error=30)(interrupted)
        f(1)
        clock.now += 70
        before = signal.signal(signal.SIGINT, handler)
        try:
            with pytest.raises(TimeoutError):
                f(1)
        finally:
            signal.signal(signal.SIGINT, before)

    def test_not_what_became_too_old_meanwhile(self, clock):
        """The time that the function took counts, too."""
        unsteady = Unsteady()

        def slow(x):
            if unsteady.error is not None:
                time.sleep(0.02)
            return unsteady(x)

        f = cached_function(60, cache_manager=CacheManager(disk=False), stale_if_error=30)(slow)
        f(1)
        clock.now += 60 + 29.99
        unsteady.error = LookupError()
        with pytest.raises(LookupError):
            f(1)

    def test_disk_keeps_it(self, clock, tmp_path):
        """What has expired is not purged as long as it may stand in."""
        unsteady = Unsteady()
        decorate = cached_function(60, cache_manager=CacheManager(tmp_path), stale_if_error=30, version="1")
        f = decorate(unsteady.__call__)
        f(1)
        clock.now += 70
        CacheManager(tmp_path).set("purges", 1)
        assert CacheManager(tmp_path).get_stats()["disk_files"] == 2
        clock.now += 30
        CacheManager(tmp_path).set("purges", 1)
        assert CacheManager(tmp_path).get_stats()["disk_files"] == 1

    def test_server_keeps_it(self, valkey):
        """A server has it for as long as it may stand in."""
        unsteady = Unsteady()
        manager = CacheManager(tiers=[RedisTier(valkey.url, timeout=5, prefix=os.urandom(4).hex())])
        f = cached_function(0.01, cache_manager=manager, stale_if_error=60, version="1")(unsteady.__call__)
        f(1)
        time.sleep(0.03)
        unsteady.error = LookupError()
        assert f(1) == [1, 1]

    def test_not_what_was_cleared_meanwhile(self, clock):
        """After `cache_clear` no cleared value comes back."""
        unsteady = Unsteady()

        def clearing(x):
            if unsteady.error is not None:
                f.cache_clear()
            return unsteady(x)

        f = cached_function(60, cache_manager=CacheManager(disk=False), stale_if_error=30)(clearing)
        f(1)
        clock.now += 70
        unsteady.error = LookupError()
        with pytest.raises(LookupError):
            f(1)

    def test_every_waiter_has_it(self, clock):
        """Those who wait for the computation that fails have the expired value, too."""
        entered, go = threading.Event(), threading.Event()
        fails = False

        @cached_function(60, cache_manager=CacheManager(disk=False), stale_if_error=30)
        def f():
            if fails:
                entered.set()
                assert go.wait(LIMIT)
                raise LookupError
            return "value"

        f()
        clock.now += 70
        fails = True
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(f)
            assert entered.wait(LIMIT)
            second = pool.submit(f)
            go.set()
            assert first.result(LIMIT) == second.result(LIMIT) == "value"

    @pytest.mark.parametrize("wrong", [-1, "60", None, True])
    def test_wrong_setting(self, wrong):
        """It is a number of seconds."""
        with pytest.raises(ValueError, match="stale_if_error"):
            cached_function(stale_if_error=wrong)


def test_function_without_disk(tmp_path):
    """With ``disk=False`` its results stay in memory, those of others do not."""
    manager = CacheManager(tmp_path)
    f = cached_function(cache_manager=manager, disk=False)(lambda x: x)
    f(1)
    f(1)
    assert f.cache_info().hits == 1
    assert manager.get_stats()["disk_files"] == 0
    cached_function(cache_manager=manager)(lambda x: x)(1)
    assert manager.get_stats()["disk_files"] == 1
