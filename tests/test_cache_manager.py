"""The caches as users meet them: manager, cached functions, what survives, what is counted."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import weakref
from concurrent.futures import Future
from functools import partial
from unittest.mock import MagicMock

import pytest

from codoperf_otel import cache_manager
from codoperf_otel._cache import clocks
from codoperf_otel._telemetry import names
from codoperf_otel.agents import agent
from codoperf_otel.cache_manager import (
    CacheManager,
    DiskTier,
    MemoryTier,
    cached_function,
    clear_cache,
    get_cache_stats,
)


@pytest.fixture
def manager(tmp_path):
    """A manager with a folder of its own."""
    return CacheManager(tmp_path / "cache", name="test manager")


@pytest.fixture
def clock(monkeypatch):
    """The monotonic and the wall clock, moved together by hand."""
    now = [1000.0]
    monkeypatch.setattr(clocks, "monotonic", lambda: now[0])
    monkeypatch.setattr(clocks, "wall", lambda: now[0])
    return now


class Calls(list):
    """A function that remembers what it was called with."""

    def function(self):
        """A function of module level, as far as the cache can see."""

        def f(*args, **kwargs):
            self.append((args, kwargs))
            return [args, kwargs]

        return f


class TestManager:
    """`CacheManager` and the module's functions."""

    def test_gives_back_what_was_set(self, manager):
        """None is a value like any other; keys count by type."""
        for key, value in ((1, "int"), ("1", "str"), (1.0, "float"), (True, "bool"), (("a", 1), None)):
            manager.set(key, value)
        assert [manager.get(key, "absent") for key in (1, "1", 1.0, True, ("a", 1), "no")] == [
            "int", "str", "float", "bool", None, "absent",
        ]  # fmt: skip

    def test_stats_have_the_seeds_keys(self, manager, tmp_path):
        """Items in memory and on disk, the limit, the folder as text."""
        manager.set("a", 1)
        manager.set("b", (1,))
        manager.get("a")
        manager.get("c")
        assert manager.get_stats() == {
            "memory_items": 2, "max_memory_items": 1000, "cache_dir": str(tmp_path / "cache"),
            "disk_files": 2, "hits": 1, "misses": 1,
        }  # fmt: skip

    def test_value_survives_the_manager(self, manager):
        """What can be written is found by the next manager; the rest is not."""
        manager.set("a", {"x": [1, None]})
        manager.set("b", (1,))
        manager.set("c", lambda: 1)
        other = CacheManager(manager.cache_dir, name="test manager")
        found = [other.get(key, "absent") for key in "abc"]
        assert found == [{"x": [1, None]}, (1,), "absent"]

    def test_names_do_not_share(self, tmp_path):
        """Two managers in one folder never read each other's values, nor their functions'."""
        for number, name in enumerate(("prices", "users")):
            manager = CacheManager(tmp_path, name=name)
            assert manager.get("42") is None
            manager.set("42", number)
            f = cached_function(cache_manager=manager, cache_key_prefix="apart", version="1")(named)
            f(1)
            assert f.cache_info().misses == 1

    @pytest.mark.parametrize("value", [iter([]), threading.Lock()])
    def test_value_that_is_used_once_only_is_refused(self, manager, value):
        """Else the second `get` would return it used up."""
        with pytest.raises(TypeError, match="once only"):
            manager.set("k", value)

    def test_ttl(self, clock, tmp_path):
        """The given time, else the default; 0 keeps nothing and forgets the value before."""
        manager = CacheManager(tmp_path, default_ttl=10)
        manager.set("default", 1)
        manager.set("short", 1, ttl=2)
        manager.set("none", 1)
        manager.set("none", 2, ttl=0)
        assert [manager.get(key) for key in ("default", "short", "none")] == [1, 1, None]
        clock[0] += 2
        assert [manager.get(key) for key in ("default", "short")] == [1, None]
        clock[0] += 8
        assert manager.get("default") is None

    def test_promoted_entry_keeps_its_time(self, clock, tmp_path):
        """A value read from disk expires when it would have."""
        CacheManager(tmp_path).set("k", 1, ttl=10)
        clock[0] += 6
        manager = CacheManager(tmp_path)
        assert manager.get("k") == 1
        assert manager.get_stats()["memory_items"] == 1
        clock[0] += 4
        assert manager.get("k") is None

    def test_clear_forgets_everything(self, manager):
        """In memory and on disk, functions' results too."""
        f = cached_function(cache_manager=manager)(Calls().function())
        f(1)
        manager.set("a", 1)
        manager.clear()
        assert (manager.get_stats()["memory_items"], manager.get_stats()["disk_files"]) == (0, 0)
        assert CacheManager(manager.cache_dir).get("a") is None

    @pytest.mark.parametrize("value", [-1, "1", True, float("nan"), None, 10**400])
    def test_invalid_ttl_is_named(self, manager, value):
        """Setting, value and what is allowed."""
        with pytest.raises(ValueError, match=r"default_ttl is .*: it must be a number of seconds from 0 up"):
            CacheManager(default_ttl=value)
        if value is not None:
            with pytest.raises(ValueError, match=f"^ttl is {value!r}: it must be"):
                manager.set("k", 1, ttl=value)
            with pytest.raises(ValueError, match=f"^ttl is {value!r}: it must be"):
                cached_function(ttl=value)

    @pytest.mark.parametrize("value", [0, -1, 1.5, "1", True, None])
    def test_invalid_limit_is_named(self, value):
        """Setting, value and what is allowed."""
        with pytest.raises(ValueError, match=f"max_memory_items is {value!r}: it must be an integer above 0"):
            CacheManager(max_memory_items=value)

    def test_key_without_a_key(self, manager):
        """An object that cannot be a key is an error that says so."""
        for use in (manager.get, partial(manager.set, value=1)):
            with pytest.raises(TypeError, match=r"cannot be a key: object has no key .*__cache_key__"):
                use(object())

    @pytest.mark.parametrize(
        "tiers", [[None], "ab", [MemoryTier], [DiskTier], 5, [], [DiskTier(), MemoryTier()]]
    )
    def test_wrong_tiers_are_named(self, tiers):
        """Setting, value and what is allowed."""
        with pytest.raises(ValueError, match=r"^tiers is .*: it must be a list of DiskTier\(…\)"):
            CacheManager(tiers=tiers)

    def test_wrong_manager_and_serializer_are_named(self, tmp_path, caplog):
        """A manager that is none, a serializer without the methods, and one that returns no bytes."""
        with pytest.raises(TypeError, match="cache_manager is 'x': it must be a CacheManager"):
            cached_function(cache_manager="x")
        with pytest.raises(ValueError, match="serializer is 'x': it must be an object with dumps"):
            DiskTier(serializer="x")
        CacheManager(tiers=[DiskTier(tmp_path, serializer=json)]).set("a", 1)
        assert "dumps() of builtins:module returned str, not bytes" in caplog.text

    def test_manager_is_freed(self, manager):
        """Nothing global keeps a manager, its entries or its file open."""
        manager.set("a", 1)
        gone = weakref.ref(manager)
        del manager
        # the fixture holds another reference: look at a manager of our own
        other = CacheManager(gone().cache_dir)
        other.get("a")
        dead = weakref.ref(other._store)
        del other
        gc.collect()
        assert dead() is None

    def test_look_ups_count_where_a_value_was_set_before_the_first(self):
        """In a program whose first look-up finds what it has set, that look-up is a hit like any other."""
        program = (
            "from codoperf_otel import CacheManager\n"
            "from codoperf_otel.testing import capture_telemetry\n"
            "manager = CacheManager(disk=False)\n"
            "manager.set('k', 1)\n"
            "with capture_telemetry() as captured:\n"
            "    manager.get('k')\n"
            "    (point,) = captured.metrics['codoperf.cache.lookups'].points\n"
            "assert point.value == 1, point"
        )
        subprocess.run([sys.executable, "-P", "-c", program], check=True)

    def test_global_manager_touches_nothing_before_its_use(self, tmp_path):
        """Importing, decorating, asking for statistics and looking up leave no folder; `set` makes it."""
        program = (
            "import os, sys\nfrom codoperf_otel import cache_manager as c\n"
            "@c.cached_function\ndef f(): pass\n"
            "c.get_cache_stats(); c._cache_manager.get('k')\n"
            "assert os.listdir(os.environ['XDG_CACHE_HOME']) == []\n"
            "c._cache_manager.set('k', 1)\n"
            "assert os.listdir(os.environ['XDG_CACHE_HOME']) == ['codoperf-otel']\n"
            "c.clear_cache(); assert c.get_cache_stats()['disk_files'] == 0"
        )
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)}, check=True
        )

    def test_default_folder(self, monkeypatch, tmp_path):
        """`XDG_CACHE_HOME` if it is absolute, else the home's cache folder."""
        monkeypatch.setenv("HOME", str(tmp_path))
        for configured in ("", "relative"):
            monkeypatch.setenv("XDG_CACHE_HOME", configured)
            assert CacheManager().cache_dir.is_relative_to(tmp_path)
        monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
        assert str(CacheManager().cache_dir) == "/somewhere/codoperf-otel"

    def test_module_functions_use_the_global_manager(self, manager, monkeypatch):
        """`clear_cache` and `get_cache_stats` are those of `_cache_manager`."""
        monkeypatch.setattr(cache_manager, "_cache_manager", manager)
        f = cached_function(Calls().function())
        f(1)
        assert get_cache_stats()["memory_items"] == 1
        clear_cache()
        assert get_cache_stats()["memory_items"] == 0


class TestCachedFunction:
    """`cached_function` on all that can be called."""

    def test_calls_once_a_key(self, manager):
        """By value and type; keyword order does not matter; a result is the same object in memory."""
        calls = Calls()
        f = cached_function(cache_manager=manager)(calls.function())
        for value in (1, 1.0, True, "1", None):
            assert f(value) is f(value)
        assert f(a=1, b=2) is f(b=2, a=1)
        assert f() is f()
        assert f(1, 2) is not f((1, 2))
        assert len(calls) == 9
        assert f.cache_info() == (7, 9, 1000, 9)

    def test_stays_what_it_was(self, manager):
        """Name, docstring, signature and `__wrapped__` are the function's."""

        @cached_function(cache_manager=manager)
        def f(a: int, *, b: str = "") -> float:
            """What it does."""
            return 1.0

        assert (f.__name__, f.__doc__) == ("f", "What it does.")
        assert list(inspect.signature(f).parameters) == ["a", "b"]
        assert not hasattr(f.__wrapped__, "cache_info")

    def test_exceptions_are_not_cached(self, manager):
        """They leave unchanged, and the next call tries again."""
        errors = [ValueError("first"), ValueError("second")]

        @cached_function(cache_manager=manager)
        def f():
            raise errors[f.cache_info().misses - 1]

        for error in errors:
            with pytest.raises(ValueError, match=str(error)) as raised:
                f()
            assert raised.value is error

    def test_coroutine_function(self, manager):
        """The awaited result is cached; the wrapper stays a coroutine function."""
        calls = []

        @cached_function(cache_manager=manager)
        async def f(x):
            await asyncio.sleep(0)
            calls.append(x)
            return {"x": x}

        async def main():
            return [await f(1), await f(1), await f(2)]

        one, again, two = asyncio.run(main())
        assert inspect.iscoroutinefunction(f)
        assert one is again
        assert (two, calls, f.cache_info()[:2]) == ({"x": 2}, [1, 2], (1, 2))

    def test_generator_functions_are_refused(self):
        """At decoration, sync and async."""

        def generator():
            yield

        async def async_generator():
            yield

        for func in (generator, async_generator):
            with pytest.raises(TypeError, match=func.__name__):
                cached_function(func)

    @pytest.mark.parametrize(
        "make",
        [
            lambda: (n for n in range(3)), lambda: iter([1]), lambda: map(str, [1]), lambda: asyncio.sleep(0),
            Future, lambda: io.StringIO("a"), tempfile.TemporaryFile, tempfile.NamedTemporaryFile,
            threading.Lock, threading.RLock, threading.Semaphore, lambda: os.scandir("."),
        ],
    )  # fmt: skip
    def test_result_that_is_used_once_only_is_refused(self, manager, make):
        """At the first call already, by its name, and without a warning."""
        made = []

        @cached_function(cache_manager=manager, cache_key_prefix="fetch")
        def f():
            made.append(make())
            return made[0]

        with pytest.raises(TypeError, match=r"fetch\(\) cannot be cached: \w+ is .* used once only"):
            f()
        assert f.cache_info().currsize == 0
        for close in {"close"} & set(dir(made[0])):
            getattr(made[0], close)()

    def test_mock_is_a_result(self, manager):
        """An object that pretends to be everything is refused for nothing."""
        f = cached_function(cache_manager=manager)(lambda: MagicMock())
        assert f() is f()

    def test_chosen_key(self, manager):
        """What `key` returns counts in place of the arguments, for methods and coroutine functions too."""

        class Client:
            @cached_function(cache_manager=manager, key=lambda self, query, **_: query.lower())
            def search(self, query, tries=1):
                return [query]

        @cached_function(cache_manager=manager, key=lambda options: sorted(options.items()))
        async def ask(options):
            return options

        assert Client().search("A") is Client().search("a", tries=2)
        assert asyncio.run(ask({"a": 1, "b": 2})) is asyncio.run(ask({"b": 2, "a": 1}))
        with pytest.raises(TypeError, match="what key= returned"):
            cached_function(key=lambda: object())(lambda: 1)()
        with pytest.raises(TypeError, match="key is 'query': it must be a function"):
            cached_function(key="query")

    def test_methods(self, manager):
        """Plain methods count their object's identity, the other kinds what they are given."""

        class C:
            @cached_function(cache_manager=manager)
            def method(self, x):
                return [x]

            @cached_function(cache_manager=manager)
            @classmethod
            def of_class(cls, x):
                return [cls, x]

            @staticmethod
            @cached_function(cache_manager=manager)
            def static(x):
                return [x]

        class D(C):
            """A subclass shares nothing of a class method."""

        one, two = C(), C()
        assert one.method(1) is one.method(1) is not two.method(1)
        assert C.of_class(1) is one.of_class(1) is not D.of_class(1)
        assert D.of_class(1)[0] is D
        assert C.static(1) is one.static(1)
        assert C.method.cache_info()[:2] == (1, 2)
        assert one.of_class.cache_info()[:2] == (2, 2)

    def test_method_cache_keeps_no_object_alive(self, manager):
        """An object whose method was cached is freed, and its address is nobody's hit."""

        class C:
            @cached_function(cache_manager=manager)
            def method(self):
                return [1]

        for _ in range(50):
            C().method()
        assert C.method.cache_info()[:2] == (0, 50)

    def test_cache_clear_forgets_that_function_only(self, manager):
        """In memory and on disk; what was counted stays counted."""

        @cached_function(cache_manager=manager, version="1")
        def f(x):
            return x

        @cached_function(cache_manager=manager, version="1")
        def g(x):
            return x

        f(1), g(1)
        manager.set("k", 1)
        f.cache_clear()
        assert f.cache_info() == (0, 1, 1000, 0)
        assert f.cache_stats()["disk_files"] == 0
        assert g.cache_stats() | {"name": ""} == {
            "name": "", "hits": 0, "misses": 1, "memory_items": 1, "max_memory_items": 1000, "disk_files": 1,
        }  # fmt: skip
        assert manager.get("k") == 1

    def test_ttl(self, clock, tmp_path):
        """The function's own, else the manager's; 0 never stores."""
        manager = CacheManager(tmp_path, default_ttl=10)
        functions = [cached_function(ttl, cache_manager=manager)(Calls().function()) for ttl in (None, 2, 0)]
        for _ in range(2):
            for f in functions:
                f(), f()
            clock[0] += 2
        assert [f.cache_info()[:2] for f in functions] == [(3, 1), (2, 2), (0, 4)]

    def test_least_recently_used_goes_first(self, tmp_path):
        """All functions of a manager share its limit."""
        manager = CacheManager(tmp_path, max_memory_items=2)
        f = cached_function(cache_manager=manager)(lambda x: (x,))
        f(1), f(2), f(1), f(3)
        assert f(1) is f(1)
        assert f.cache_info() == (3, 3, 2, 2)

    def test_counts_are_exact_under_threads(self, tmp_path, telemetry):
        """Hits, misses and waiters add up to the calls, and are telemetry's, under agents too."""
        manager = CacheManager(tmp_path, max_memory_items=50)
        f = cached_function(cache_manager=manager, cache_key_prefix="exact")(lambda x: (x,))
        threads, calls = 8, 3000

        def work(number):
            with agent(f"agent {number % 2}"):
                for step in range(calls):
                    assert f(step * 7 % 60) == (step * 7 % 60,)

        running = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        info = f.cache_info()
        assert info.currsize == 50
        counted = telemetry.values(names.CACHE_LOOKUPS)
        mine = {key: n for key, n in counted.items() if (names.CACHE_NAME, "exact") in key}
        coalesced = sum(n for key, n in mine.items() if (names.CACHE_RESULT, "coalesced") in key)
        assert info.hits + info.misses + coalesced == threads * calls
        assert sum(n for key, n in mine.items() if (names.CACHE_RESULT, "hit") in key) == info.hits
        assert sum(n for key, n in mine.items() if (names.CACHE_RESULT, "miss") in key) == info.misses
        for number in range(2):
            under = sum(n for key, n in mine.items() if (names.GEN_AI_AGENT_NAME, f"agent {number}") in key)
            assert under == threads * calls / 2

    def test_hits_are_not_hoarded(self, manager):
        """However many hits there are, few wait to be counted."""
        f = cached_function(cache_manager=manager)(lambda x: x)
        for _ in range(1000):
            f(1)
        assert len(manager._store.memory.log) < 256

    def test_a_value_that_calls_back_when_it_dies(self, tmp_path):
        """A finalizer that uses the cache while an entry is evicted neither hangs nor breaks it."""
        manager = CacheManager(tmp_path, max_memory_items=1)

        class Value:
            def __del__(self):
                g(1)

        f = cached_function(cache_manager=manager)(lambda x: Value())
        g = cached_function(cache_manager=manager)(lambda x: x)
        for number in range(20):
            f(number)
        manager.clear()
        assert manager.get_stats()["memory_items"] <= 1

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
    def test_forked_child_counts_anew(self, manager):
        """The child has the entries but not the counts."""
        f = cached_function(cache_manager=manager)(lambda x: (x,))
        f(1), f(1)
        child = os.fork()
        if child == 0:
            try:
                f(1)
                os._exit(0 if f.cache_info() == (1, 0, 1000, 1) else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert f.cache_info()[:2] == (1, 1)

    def test_partial_and_builtin(self, manager):
        """What has no code of its own is cached in memory."""
        for func in (functools.partial(int, base=2), int):
            f = cached_function(cache_manager=manager)(func)
            assert f("11") == f("11") == func("11")
            assert f.cache_stats()["disk_files"] == 0
            assert f.cache_info()[:2] == (1, 1)


PROGRAM = """
import sys
from codoperf_otel.cache_manager import CacheManager, cached_function

@cached_function(cache_manager=CacheManager(sys.argv[1]){options})
def f(x, y=1):
    print("computed")
    return {result}

print(f(20, y=[2]), f.cache_info()[:2])
"""


class TestProcesses:
    """What one program leaves to the next."""

    def run(self, tmp_path, name="program", result="[x]", options="", warnings=0):
        """Run a program on the common folder and return what it printed."""
        path = tmp_path / f"{name}.py"
        path.write_text(PROGRAM.format(result=result, options=options))
        done = subprocess.run(
            [sys.executable, "-W", "error", path, tmp_path / "cache"], capture_output=True, text=True
        )
        assert done.stderr.count("\n") == warnings, done.stderr
        return done.stdout.split("\n")[:-1]

    def test_second_run_finds_the_result(self, tmp_path):
        """The same program computes once."""
        assert self.run(tmp_path) == ["computed", "[20] (0, 1)"]
        assert self.run(tmp_path) == ["[20] (1, 0)"]

    def test_changed_code_begins_anew(self, tmp_path):
        """Two versions of a program never share, and each finds its own again."""
        for result, printed in (("[x]", "[20]"), ("[x, 1]", "[20, 1]")):
            assert self.run(tmp_path, result=result)[-2:] == ["computed", f"{printed} (0, 1)"]
        assert self.run(tmp_path) == ["[20] (1, 0)"]

    def test_programs_do_not_share(self, tmp_path):
        """Two programs with the same function are two functions."""
        assert self.run(tmp_path, "one")[0] == "computed"
        assert self.run(tmp_path, "two")[0] == "computed"

    def test_version_counts_instead_of_code(self, tmp_path):
        """The same version shares results, another one does not."""
        assert self.run(tmp_path, options=", version='1'")[0] == "computed"
        assert self.run(tmp_path, result="[x, 1]", options=", version='1'") == ["[20] (1, 0)"]
        assert self.run(tmp_path, options=", version='2'")[0] == "computed"

    def test_unwritable_result_stays_in_memory(self, tmp_path):
        """What cannot be written is computed by each process."""
        for _ in range(2):
            assert self.run(tmp_path, result="(lambda: x)", warnings=1)[0] == "computed"


def test_closures_do_not_share(manager):
    """Functions of one code that carry other values never get each other's results from disk."""

    def factory(carried):
        @cached_function(cache_manager=CacheManager(manager.cache_dir))
        def inner(x):
            return [x, carried]

        return inner

    assert [factory(carried)(1) for carried in (1, 2, "1")] == [[1, 1], [1, 2], [1, "1"]]
    again = factory(1)
    assert (again(1), again.cache_info()[:2]) == ([1, 1], (1, 0))


class TestTelemetry:
    """Names, attributes and numbers of the metrics."""

    def points(self, telemetry, name, cache):
        """The values of one cache by the other attributes' values."""
        mark = (names.CACHE_NAME, cache)
        return {
            tuple(value for _, value in sorted(key - {mark})): value
            for key, value in telemetry.values(name).items()
            if mark in key
        }

    def test_lookups_by_result_tier_and_agent(self, telemetry, tmp_path):
        """A miss, then hits in memory; the next manager's first hit is the disk's, promoted to memory."""
        for _ in range(2):
            manager = CacheManager(tmp_path, name="lookups")
            manager.get("k")
            manager.set("k", 1)
            with agent("planner"):
                manager.get("k")
                manager.get("k")
        found = self.points(telemetry, names.CACHE_LOOKUPS, "lookups")
        assert found == {("miss",): 1, ("hit", "disk"): 1, ("hit", "memory", "planner"): 4}

    def test_name_of_a_function(self, telemetry, manager):
        """The prefix, else module and qualified name."""
        for prefix, name in ((None, f"{__name__}.named"), ("prefix", "prefix")):
            f = cached_function(cache_manager=manager, cache_key_prefix=prefix)(named)
            f(1), f(1)
            assert self.points(telemetry, names.CACHE_LOOKUPS, name) == {("miss",): 1, ("hit", "memory"): 1}

    def test_loads_and_saved_time(self, telemetry, manager, monkeypatch):
        """Each load is measured, failed ones with their error; each hit saves what the load took, exactly."""
        ticks = iter(range(0, 10**10, 10**8))
        monkeypatch.setattr("codoperf_otel._cache.loads.perf_counter_ns", lambda: next(ticks))

        @cached_function(cache_manager=manager, cache_key_prefix="loads")
        def f(x):
            return 1 / x

        with agent("planner"):
            f(1), f(1), f(1), f(1)
        f(1)
        with pytest.raises(ZeroDivisionError):
            f(0)
        loads = self.points(telemetry, names.CACHE_LOAD_DURATION, "loads")
        assert loads == {("planner",): 1, ("ZeroDivisionError",): 1}
        assert self.points(telemetry, names.CACHE_SAVED_TIME, "loads") == {("planner",): 0.3, (): 0.1}

    def test_saved_time_survives_on_disk(self, telemetry, tmp_path):
        """A hit on disk saves what the load took in the process that made it."""
        for _ in range(2):
            f = cached_function(cache_manager=CacheManager(tmp_path), cache_key_prefix="kept")(named)
            f(1)
        ((_, saved),) = self.points(telemetry, names.CACHE_SAVED_TIME, "kept").items()
        assert 0 < saved < 1

    def test_plain_values_save_nothing_that_was_measured(self, telemetry, manager):
        """What was set by hand has no load duration, so no time is claimed."""
        manager.set("k", 1)
        manager.get("k")
        assert self.points(telemetry, names.CACHE_SAVED_TIME, "test manager") == {}

    def test_evictions_by_tier_and_reason(self, telemetry, clock, tmp_path):
        """Size and time in memory, time on disk."""
        manager = CacheManager(tmp_path, max_memory_items=2, name="evictions")
        for key in "abc":
            manager.set(key, (1,))
        manager.set("d", 1)
        clock[0] += 3600
        manager.get("d")
        assert self.points(telemetry, names.CACHE_EVICTIONS, "evictions") == {
            ("size", "memory"): 2, ("expired", "memory"): 1, ("expired", "disk"): 1,
        }  # fmt: skip

    def test_entries_and_limit(self, telemetry, tmp_path):
        """Two managers of one name add up; each function has its own count under its manager's limit."""
        managers = [CacheManager(tmp_path / n, max_memory_items=10, name="entries") for n in "ab"]
        for one in managers:
            one.set("k", 1)
            one.set("l", lambda: 1)
            one.get("k")
        f = cached_function(cache_manager=managers[0], cache_key_prefix="entries of f")(named)
        f(1)
        assert self.points(telemetry, names.CACHE_ENTRY_COUNT, "entries") == {("memory",): 4, ("disk",): 2}
        assert self.points(telemetry, names.CACHE_ENTRY_LIMIT, "entries") == {("memory",): 20}
        assert self.points(telemetry, names.CACHE_ENTRY_COUNT, "entries of f") == {
            ("memory",): 1,
            ("disk",): 1,
        }
        assert self.points(telemetry, names.CACHE_ENTRY_LIMIT, "entries of f") == {("memory",): 10}


def named(x):
    """A function of module level."""
    return [x]
