"""Concurrent callers of one key, and what is set or cleared while a value is found or computed."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from cache_counts import lookups

from codoperf_otel._cache import async_loads, flights, turns
from codoperf_otel._cache.database import FILE
from codoperf_otel._cache.namespace import Namespace
from codoperf_otel._cache.tiers import Item
from codoperf_otel._telemetry import names
from codoperf_otel.agents import propagate_context
from codoperf_otel.cache_manager import CacheManager, cached_function

LIMIT = 20.0  # seconds, for what takes milliseconds


@pytest.fixture
def manager():
    """A manager with memory alone."""
    return CacheManager(name="calls", disk=False)


class Slow:
    """A cached function that says when it is entered, and returns when it is let go."""

    def __init__(self, manager, error=None, **options):
        self.entered, self.go = threading.Event(), threading.Event()
        self.calls = []

        @cached_function(cache_manager=manager, **options)
        def f(x):
            self.calls.append(x)
            self.entered.set()
            assert self.go.wait(LIMIT)
            if error is not None:
                raise error
            return [x, len(self.calls)]

        self.f = f

    def waiting(self):
        """How many wait for a computation under way."""
        namespaces = self.f.__closure__
        cache = next(cell.cell_contents for cell in namespaces if hasattr(cell.cell_contents, "namespace"))
        return sum(len(flight._wakers) for flight in cache.namespace.flights._flying.values())

    def until_waiting(self, number):
        """Let that many threads come to wait."""
        end = time.monotonic() + LIMIT
        while self.waiting() < number:
            assert time.monotonic() < end
            time.sleep(0.001)


def outcome(function, *args):
    """What a call returns or raises."""
    try:
        return function(*args)
    except Exception as error:
        return error


class TestThreads:
    """Functions."""

    def test_one_computation(self, manager, telemetry, scale):
        """However many threads come to a key, one computes; the others are counted as waiters."""
        number = scale(320)
        slow = Slow(manager, cache_key_prefix="threads")
        with ThreadPoolExecutor(number) as pool:
            running = [pool.submit(slow.f, 1) for _ in range(number)]
            slow.until_waiting(number - 1)
            slow.go.set()
            values = [each.result(LIMIT) for each in running]
        assert slow.calls == [1]
        assert all(value is values[0] for value in values)
        assert lookups(telemetry, "threads") == {"miss": 1, "coalesced": number - 1}

    def test_exception_reaches_every_waiter(self, manager):
        """It is raised in each thread, and the next call computes again."""
        slow = Slow(manager, ValueError("no"))
        with ThreadPoolExecutor(4) as pool:
            running = [pool.submit(outcome, slow.f, 1) for _ in range(4)]
            slow.until_waiting(3)
            slow.go.set()
            errors = {each.result(LIMIT) for each in running}
        assert [str(error) for error in errors] == ["no"]
        assert len(slow.calls) == 1
        assert str(outcome(slow.f, 1)) == "no"
        assert len(slow.calls) == 2

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit()], ids=repr)
    def test_interrupt_is_one_threads_own(self, manager, error):
        """Who waits for an interrupted computation computes."""
        entered, go, calls = threading.Event(), threading.Event(), []

        @cached_function(cache_manager=manager)
        def f():
            calls.append(1)
            if len(calls) > 1:
                return "value"
            entered.set()
            assert go.wait(LIMIT)
            raise error

        def interrupted():
            with pytest.raises(type(error)):
                f()

        first = threading.Thread(target=interrupted)
        first.start()
        assert entered.wait(LIMIT)
        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(f)
            go.set()
            assert second.result(LIMIT) == "value"
        first.join()
        assert f() == "value"
        assert len(calls) == 2

    def test_time_out_is_one_threads_own(self, manager):
        """What a signal handler raises in the thread that computes is no outcome for those who wait."""
        calls = []

        @cached_function(cache_manager=manager)
        def f():
            calls.append(1)
            if len(calls) > 1:
                return "value"
            waiting.append(pool.submit(f))
            caches = manager._store.namespaces
            end = time.monotonic() + LIMIT
            while not any(flight._wakers for each in caches for flight in each.flights._flying.values()):
                assert time.monotonic() < end
                time.sleep(0.001)
            signal.raise_signal(signal.SIGINT)
            return "not interrupted"

        def handler(*_):
            raise TimeoutError

        waiting = []
        before = signal.signal(signal.SIGINT, handler)
        try:
            with ThreadPoolExecutor(1) as pool:
                with pytest.raises(TimeoutError):
                    f()
                assert waiting[0].result(LIMIT) == "value"
        finally:
            signal.signal(signal.SIGINT, before)

    def test_recursion_with_the_same_key(self, manager):
        """A function that calls itself so computes unshared, also from another thread of its own call."""
        depth = []

        @cached_function(cache_manager=manager)
        def f(x):
            depth.append(x)
            if len(depth) == 1:
                return [f(x)]
            if len(depth) == 2:
                with ThreadPoolExecutor(1) as pool:
                    return [pool.submit(propagate_context(f), x).result(LIMIT)]
            return x

        assert f(1) == [[1]]
        assert len(depth) == 3
        assert f(1) == [[1]]

    @pytest.mark.parametrize("way", ["thread", "future", "map"])
    def test_recursion_in_a_thread_of_its_own(self, manager, way):
        """A thread that the function starts and waits for computes, though nobody lends it anything."""
        depth = []

        def elsewhere(x):
            if way == "thread":
                found = []
                running = threading.Thread(target=lambda: found.append(f(x)))
                running.start()
                running.join()
                return found[0]
            with ThreadPoolExecutor(1) as pool:
                return pool.submit(f, x).result() if way == "future" else next(iter(pool.map(f, [x])))

        @cached_function(cache_manager=manager)
        def f(x):
            depth.append(x)
            return elsewhere(x) if len(depth) < 3 else [x]

        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(f, 1).result(LIMIT) == [1]
        assert f(1) == [1]
        assert len(depth) == 3

    @pytest.mark.parametrize("number", [2, 3, 5])
    def test_threads_that_wait_for_each_other(self, manager, number, monkeypatch):
        """Each computes a value that needs the next one's: it is found out at once."""
        monkeypatch.setattr(flights, "_FIRST_LOOK", LIMIT)
        together, ran = threading.Barrier(number), []

        @cached_function(cache_manager=manager)
        def need(each):
            ran.append(each)
            if ran.count(each) > 1:
                return [each]
            together.wait(LIMIT)
            return need((each + 1) % number)

        with ThreadPoolExecutor(number) as pool:
            running = [pool.submit(need, each) for each in range(number)]
            assert {tuple(each.result(LIMIT)) for each in running} <= {(each,) for each in range(number)}
        assert len(ran) <= 2 * number

    def test_waiting_is_bounded(self, manager, monkeypatch):
        """After a while one of those who wait computes, and the others wait for that."""
        monkeypatch.setattr(flights, "PATIENCE", 0.15)
        monkeypatch.setattr(flights, "_FIRST_LOOK", 0.01)
        slow = Slow(manager)
        with ThreadPoolExecutor(3) as pool:
            first = pool.submit(slow.f, 1)
            assert slow.entered.wait(LIMIT)
            slow.entered.clear()
            others = [pool.submit(slow.f, 1) for _ in range(2)]
            assert slow.entered.wait(LIMIT)
            slow.go.set()
            assert first.result(LIMIT)[0] == others[0].result(LIMIT)[0] == others[1].result(LIMIT)[0] == 1
        assert len(slow.calls) < 4

    def test_cleared_meanwhile(self, manager):
        """What was being computed is returned and not kept, and who comes afterwards computes anew."""
        for clear in ("function", "manager"):
            slow = Slow(manager)
            with ThreadPoolExecutor(2) as pool:
                first = pool.submit(slow.f, 1)
                assert slow.entered.wait(LIMIT)
                slow.f.cache_clear() if clear == "function" else manager.clear()
                slow.entered.clear()
                second = pool.submit(slow.f, 1)
                assert slow.entered.wait(LIMIT)
                slow.go.set()
                assert first.result(LIMIT)[0] == second.result(LIMIT)[0] == 1
            assert len(slow.calls) == 2
            assert slow.f(1) is second.result()

    @pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer signals")
    def test_interrupted_anywhere(self, manager, scale):
        """An exception of a signal handler leaves no computation behind that others would wait for."""
        f = cached_function(cache_manager=manager, ttl=0)(lambda x: x)

        def handler(*_):
            raise TimeoutError

        before = signal.signal(signal.SIGALRM, handler)
        try:
            for step in range(scale(4000)):
                try:
                    signal.setitimer(signal.ITIMER_REAL, 1e-5 + step % 50 * 4e-6)
                    for _ in range(40):
                        f(1)
                except TimeoutError:
                    pass
                finally:
                    try:
                        signal.setitimer(signal.ITIMER_REAL, 0)
                    except TimeoutError:
                        pass
        finally:
            signal.signal(signal.SIGALRM, before)
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(f, 1).result(turns.PATIENCE / 2) == 1  # nor a lock

    def test_interrupted_while_it_wakes_others(self):
        """Those who wait are woken by the next try, each of them."""
        flight, woken = flights.Flight(), []
        with ThreadPoolExecutor(2) as pool:
            waiting = [pool.submit(flight.wait) for _ in range(2)]
            while len(flight._wakers) < 2:
                time.sleep(0.001)

            def interrupted():
                if not woken:
                    woken.append(True)
                    raise KeyboardInterrupt

            flight._wakers.insert(1, interrupted)
            with pytest.raises(KeyboardInterrupt):
                flight.end()
            flight.end()
            assert [each.result(LIMIT) for each in waiting] == [True, True]

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
    def test_forked_child_does_not_wait(self, manager):
        """A computation of a thread that is not in the child is nothing to wait for."""
        slow = Slow(manager)
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(slow.f, 1)
            assert slow.entered.wait(LIMIT)
            child = os.fork()
            if child == 0:
                try:
                    signal.alarm(int(LIMIT))
                    slow.go = threading.Event()
                    slow.go.set()
                    os._exit(0 if slow.f(1) == [1, 2] else 1)
                finally:
                    os._exit(2)
            slow.go.set()
            assert running.result(LIMIT) == [1, 1]
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


class TestTasks:
    """Coroutine functions."""

    def run(self, main):
        """Run it, for a limited time."""

        async def limited():
            return await asyncio.wait_for(main(), LIMIT)

        return asyncio.run(limited())

    @pytest.mark.parametrize("disk", [False, True])
    def test_one_computation(self, tmp_path, telemetry, disk):
        """However many tasks come to a key, one computes; the others are counted as waiters."""
        calls, name = [], f"tasks, disk={disk}"

        @cached_function(cache_manager=CacheManager(tmp_path, disk=disk), cache_key_prefix=name)
        async def f(x):
            calls.append(x)
            await asyncio.sleep(0)
            return [x]

        async def main():
            return await asyncio.gather(*(f(1) for _ in range(64)))

        values = self.run(main)
        assert calls == [1]
        assert all(value is values[0] for value in values)
        assert lookups(telemetry, name) == {"miss": 1, "coalesced": 63}

    def test_exception_reaches_every_waiter(self, manager):
        """It is raised in each task."""
        calls = []

        @cached_function(cache_manager=manager)
        async def f():
            calls.append(1)
            await asyncio.sleep(0)
            raise ValueError

        async def main():
            return await asyncio.gather(*(f() for _ in range(5)), return_exceptions=True)

        assert [type(error) for error in self.run(main)] == [ValueError] * 5
        assert len(calls) == 1

    @pytest.mark.parametrize("cancelled", [0, 1, 2])
    def test_cancelling_one_cancels_nobody_else(self, manager, cancelled):
        """Whether it computes or waits: the others have the value."""

        @cached_function(cache_manager=manager)
        async def f():
            await asyncio.sleep(0.01)
            return "value"

        async def main():
            tasks = [asyncio.create_task(f()) for _ in range(3)]
            await asyncio.sleep(0)
            tasks[cancelled].cancel()
            return await asyncio.gather(*tasks, return_exceptions=True)

        found = self.run(main)
        assert isinstance(found.pop(cancelled), asyncio.CancelledError)
        assert found == ["value", "value"]

    def test_recursion_with_the_same_key(self, manager):
        """In the same task, and in tasks that the computation waits for."""
        depth = []

        @cached_function(cache_manager=manager)
        async def f(x):
            depth.append(x)
            if len(depth) == 1:
                return [await f(x)]
            if len(depth) == 2:
                return await asyncio.gather(f(x))
            return x

        assert self.run(lambda: f(1)) == [[1]]
        assert len(depth) == 3

    @pytest.mark.parametrize("number", [2, 3, 5])
    @pytest.mark.parametrize("disk", [False, True])
    def test_tasks_that_wait_for_each_other(self, tmp_path, number, disk):
        """Each computes a value that needs the next one's: it is found out at once."""
        ran, together = [], asyncio.Event()

        @cached_function(cache_manager=CacheManager(tmp_path, disk=disk))
        async def need(each):
            ran.append(each)
            if ran.count(each) > 1:
                return [each]
            if len(ran) == number:
                together.set()
            await together.wait()
            return (await asyncio.gather(need((each + 1) % number)))[0]

        async def main():
            return await asyncio.gather(*(need(each) for each in range(number)))

        assert {tuple(each) for each in self.run(main)} <= {(each,) for each in range(number)}
        assert len(ran) <= 2 * number

    def test_waiting_is_bounded(self, manager, monkeypatch):
        """After a while one of those who wait computes."""
        monkeypatch.setattr(async_loads, "PATIENCE", 0.01)
        calls = []

        @cached_function(cache_manager=manager)
        async def f():
            calls.append(1)
            if len(calls) == 1:
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(None, lambda: asyncio.run(f()))
            return "value"

        assert self.run(f) == "value"
        assert len(calls) == 2

    def test_several_loops(self, manager):
        """Tasks of another thread's loop wait for the same computation."""
        entered, go, calls = threading.Event(), threading.Event(), []

        @cached_function(cache_manager=manager)
        async def f():
            calls.append(1)
            entered.set()
            await asyncio.to_thread(go.wait, LIMIT)
            return [1]

        async def second():
            waiting = asyncio.create_task(f())
            await asyncio.sleep(0.005)
            go.set()
            return await waiting

        with ThreadPoolExecutor(2) as pool:
            one = pool.submit(self.run, f)
            assert entered.wait(LIMIT)
            assert pool.submit(self.run, second).result(LIMIT) is one.result(LIMIT)
        assert len(calls) == 1

    def test_callable_object(self, manager):
        """An object whose ``__call__`` is a coroutine function is one."""

        class Ask:
            async def __call__(self, x):
                return [x]

        ask = cached_function(cache_manager=manager)(Ask())

        async def main():
            return await ask(1), await ask(1)

        one, again = self.run(main)
        assert one is again
        assert one == [1]

    def test_without_a_loop(self, manager):
        """A coroutine that something else drives computes."""

        @cached_function(cache_manager=manager)
        async def f():
            return 1

        with pytest.raises(StopIteration) as stopped:
            f().send(None)
        assert stopped.value.value == 1

    def test_loop_goes_on_while_the_file_is_locked(self, tmp_path):
        """Another process that writes to the file delays the call, and nothing else on the loop."""

        @cached_function(cache_manager=CacheManager(tmp_path))
        async def f(x):
            return x

        async def main():
            await f(0)
            other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            call = asyncio.create_task(f(1))
            turns_of_the_loop = 0
            while turns_of_the_loop < 5 and not call.done():
                await asyncio.sleep(0.002)
                turns_of_the_loop += 1
            other.execute("ROLLBACK")
            other.close()
            return turns_of_the_loop, await call

        assert self.run(main) == (5, 1)


class Gate:
    """A tier behind memory whose next `get` waits, after it has read."""

    counts_at_once = True
    name = names.DISK

    def __init__(self):
        self.items = {}
        self.has_read, self.go = threading.Event(), threading.Event()

    def get(self, location):
        """The item, when the gate is open."""
        item = self.items.get(location.key)
        self.has_read.set()
        assert self.go.wait(LIMIT)
        return item

    def put(self, location, item):
        """Keep it."""
        self.items[location.key] = item

    def remove(self, location):
        """Forget it."""
        self.items.pop(location.key, None)

    def clear(self, namespace=None):
        """Forget all."""
        self.items.clear()

    def count(self, namespace=None):
        """How many there are."""
        return len(self.items)

    def size(self, namespace=None):
        """Nobody asks."""

    def forked(self):
        """Nothing is left to the parent."""

    def make(self, on_evict):
        """It is its own choice."""
        return self


class TestOrder:
    """`set`, `clear` and a find in progress."""

    @pytest.mark.parametrize("change", ["set", "clear"])
    def test_older_value_is_not_promoted(self, change):
        """What was read behind memory before a change takes no place in memory after it."""
        from codoperf_otel._cache.chosen_tiers import MemoryTier

        gate = Gate()
        manager = CacheManager(tiers=[MemoryTier(10), gate])
        gate.items["k"] = Item("old", 100.0, None)
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(manager.get, "k")
            assert gate.has_read.wait(LIMIT)
            manager.set("k", "new") if change == "set" else manager.clear()
            gate.go.set()
            assert reading.result(LIMIT) == "old"
        assert manager.get("k") == ("new" if change == "set" else None)

    def test_set_takes_the_place_of_what_is_read(self, tmp_path, scale):
        """After `set` has returned nobody reads the older value, whatever others read meanwhile."""
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            CacheManager(tmp_path).set("k", "old")
            for _ in range(scale(400)):
                manager = CacheManager(tmp_path)
                with ThreadPoolExecutor(2) as pool:
                    pool.submit(manager.get, "k"), pool.submit(manager.set, "k", "new")
                assert manager.get("k") == "new"
                manager.set("k", "old")
        finally:
            sys.setswitchinterval(interval)

    def test_crossed_locks_end(self, monkeypatch):
        """Who waits for a writer that in turn waits for it goes on after a while."""
        monkeypatch.setattr(turns, "PATIENCE", 0.01)
        turn = turns.Turns().of(Namespace("n", lambda: None).location("k"))

        def meanwhile():
            with ThreadPoolExecutor(1) as pool:
                pool.submit(turn.write, lambda: None).result(LIMIT)
            assert turn.count == 1

        turn.write(meanwhile)


GREENLETS = """
from gevent import monkey
monkey.patch_all()
import sys, gevent
from codoperf_otel import CacheManager, cached_function

calls = []

@cached_function(cache_manager=CacheManager(sys.argv[1]))
def double(number):
    calls.append(number)
    gevent.sleep(0.2)
    return number * 2

def values(number, killed):
    calls.clear()
    asking = [gevent.spawn(double, number) for _ in range(20)]
    gevent.sleep(0.05)
    if killed is not None:
        asking[killed].kill()
    gevent.joinall(asking)
    return [each.value for place, each in enumerate(asking) if place != killed]

with gevent.Timeout(30):
    assert (values(1, None), calls) == ([2] * 20, [1])
    assert (values(2, 9), calls) == ([4] * 19, [2])  # one that waits disturbs nobody
    assert (values(3, 0), calls) == ([6] * 19, [3, 3])  # in place of the one that computes another does
"""


@pytest.mark.once
def test_greenlets_compute_once(tmp_path):
    """Under gevent they wait for one computation, and one that is killed stops no other."""
    pytest.importorskip("gevent")
    subprocess.run([sys.executable, "-c", GREENLETS, tmp_path], check=True, timeout=60)
