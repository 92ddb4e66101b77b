"""Whose CPU time it is under trio and in greenlets: its own, or none is told; and what a cancellation is."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import codoperf_otel as co

burnt: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _nothing_burnt():
    burnt.clear()


def burn(name, seconds):
    """Use CPU time, and keep account of it; returns how much it was."""
    began = now = time.thread_time()
    while now - began < seconds:
        now = time.thread_time()
    burnt[name] += now - began
    return now - began


def is_own(cpu_time, account):
    """Whether a span's CPU time is what its call burnt itself, switches between tasks included."""
    return cpu_time == pytest.approx(account, rel=0.05, abs=0.004)


# --- trio ---


@pytest.fixture
def trio():
    """trio, where it is installed."""
    return pytest.importorskip("trio")


@pytest.mark.measures
def test_interleaved_trio_tasks_have_their_own(trio, capture_telemetry):
    """Coroutines and async generators that run by turns under trio each have the CPU time that they burnt."""

    async def by_turns(name, seconds):
        for _ in range(10):
            burn(name, seconds)
            await trio.sleep(0)

    quick = co.monitor_performance("quick")(lambda: by_turns("quick", 0.002))
    slow = co.monitor_performance("slow")(functools.partial(by_turns, "slow", 0.006))

    @co.monitor_performance("items")
    async def items():
        for number in range(5):
            burn("items", 0.004)
            await trio.sleep(0)
            yield number

    async def consume():
        async for _ in items():
            await trio.sleep(0)

    async def main():
        async with trio.open_nursery() as nursery:
            for task in (quick, slow, consume):
                nursery.start_soon(task)

    trio.run(main)
    for name in ("quick", "slow", "items"):
        attributes = capture_telemetry.span(name).attributes
        assert is_own(attributes["codoperf.cpu.time"], burnt[name]), name
        assert attributes["codoperf.suspended.time"] > 0


def test_a_scope_in_a_trio_task_has_no_figure(trio, capture_telemetry):
    """As under asyncio: a block that no monitored call encloses is not told what other tasks burnt."""

    async def waits():
        with co.performance_context("waits"):
            await trio.sleep(0.05)

    async def burns():
        await trio.sleep(0.01)
        burn("burns", 0.03)

    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(waits)
            nursery.start_soon(burns)

    trio.run(main)
    attributes = capture_telemetry.span("waits").attributes
    assert "codoperf.cpu.time" not in attributes
    assert "codoperf.cpu.self_time" not in attributes


@pytest.mark.measures
def test_a_scope_in_a_monitored_trio_task_has_its_own(trio, capture_telemetry):
    """Inside a monitored coroutine a block has the CPU time of that coroutine's steps in it."""

    @co.monitor_performance("around")
    async def around():
        burn("around", 0.01)
        async with co.performance_context("inside"):
            burn("inside", 0.01)
            await trio.sleep(0.01)
            burn("inside", 0.01)

    async def burns():
        burn("burns", 0.02)
        await trio.sleep(0)
        burn("burns", 0.02)

    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(around)
            nursery.start_soon(burns)

    trio.run(main)
    assert is_own(capture_telemetry.span("inside").attributes["codoperf.cpu.time"], burnt["inside"])
    whole = burnt["around"] + burnt["inside"]
    assert is_own(capture_telemetry.span("around").attributes["codoperf.cpu.time"], whole)


@pytest.mark.measures
def test_trio_threads_have_their_own(trio, capture_telemetry):
    """A function that trio runs in a thread has the CPU time of that thread, and the agent of its task."""

    @co.monitor_performance("threaded")
    def threaded():
        burn("threaded", 0.02)
        return co.current_agent()

    @co.agent("planner")
    async def planner():
        return await trio.to_thread.run_sync(threaded)

    assert trio.run(planner) == "planner"
    assert is_own(capture_telemetry.span("threaded").attributes["codoperf.cpu.time"], burnt["threaded"])
    assert capture_telemetry.span("threaded").parent == "invoke_agent planner"


def test_trio_outside_and_asyncio_inside_a_scope(trio, capture_telemetry):
    """A block around a whole loop has the thread's CPU time, all tasks included."""

    async def work():
        burn("work", 0.02)

    with co.performance_context("trio"):
        trio.run(work)
    with co.performance_context("asyncio"):
        asyncio.run(work())
    told = [capture_telemetry.span(name).attributes["codoperf.cpu.time"] for name in ("trio", "asyncio")]
    assert min(told) >= 0.02
    assert sum(told) >= burnt["work"] - 0.002


def assert_is_cancelled(captured, name):
    """The span says that it was cancelled, which is no error; the duration is not that of a failure."""
    span = captured.span(name)
    assert span.attributes["codoperf.outcome"] == "cancelled"
    assert span.status == "UNSET"
    assert "error.type" not in span.attributes
    assert span.events == ()
    points = captured.metric("codoperf.function.duration").points
    assert [point for point in points if "error.type" in point.attributes] == []


def test_a_cancelled_trio_task_is_cancelled(trio, capture_telemetry):
    """A call that a trio cancel scope ends is `cancelled`; so is one that has a nursery of its own."""

    @co.monitor_performance("sleeps")
    async def sleeps():
        await trio.sleep(10)

    @co.monitor_performance("nursery")
    async def nursery():
        async with trio.open_nursery() as tasks:
            tasks.start_soon(trio.sleep, 10)
            tasks.start_soon(trio.sleep, 10)

    async def main():
        with trio.move_on_after(0.01):
            await sleeps()
        with trio.move_on_after(0.01):
            await nursery()

    trio.run(main)
    assert_is_cancelled(capture_telemetry, "sleeps")
    assert_is_cancelled(capture_telemetry, "nursery")


def test_a_greenlet_that_is_killed_is_cancelled(capture_telemetry):
    """So is a call in a greenlet that is killed or let go of."""
    greenlet = pytest.importorskip("greenlet")
    waits = greenlet.greenlet(co.monitor_performance("waits")(greenlet.getcurrent().switch))
    waits.switch()
    waits.throw()
    assert_is_cancelled(capture_telemetry, "waits")


class OwnCancelledError(asyncio.CancelledError):
    """What a framework makes of a cancellation."""


class JobCancelledError(concurrent.futures.CancelledError):
    """What a pool makes of one."""


@pytest.mark.parametrize(
    "kind", [asyncio.CancelledError, OwnCancelledError, concurrent.futures.CancelledError, JobCancelledError]
)
@pytest.mark.parametrize("driven", [False, True], ids=["function", "coroutine"])
def test_any_cancellation_is_cancelled(capture_telemetry, kind, driven):
    """asyncio's and the pools' own, and every subclass of them."""

    @co.monitor_performance("cancelled")
    async def coroutine():
        raise kind("stop")

    @co.monitor_performance("cancelled")
    def function():
        raise kind("stop")

    with pytest.raises(kind):
        asyncio.run(coroutine()) if driven else function()
    assert_is_cancelled(capture_telemetry, "cancelled")


def test_an_error_of_that_name_is_an_error(capture_telemetry):
    """A class that is only called so, and is no cancellation, is an error."""

    class CancelledError(Exception):
        """An order was cancelled, for example."""

    @co.monitor_performance("fails")
    def fails():
        raise CancelledError

    with pytest.raises(CancelledError):
        fails()
    span = capture_telemetry.span("fails")
    assert span.status == "ERROR"
    assert "codoperf.outcome" not in span.attributes


# --- greenlets ---


@pytest.fixture
def greenlet():
    """greenlet, where it is installed."""
    return pytest.importorskip("greenlet")


def is_own_or_absent(attributes, account):
    """A greenlet's CPU time is its own, or it is not told."""
    told = attributes.get("codoperf.cpu.time")
    return told is None or is_own(told, account)


@pytest.mark.measures
def test_greenlets_by_turns(greenlet, capture_telemetry):
    """Calls in greenlets that switch between each other each have their own CPU time, or none."""

    @co.monitor_performance("one")
    def one():
        for _ in range(5):
            burn("one", 0.004)
            others[0].switch()

    @co.monitor_performance("other")
    def other():
        for _ in range(5):
            burn("other", 0.012)
            ones[0].switch()

    main = greenlet.getcurrent()
    ones, others = [greenlet.greenlet(one, main)], [greenlet.greenlet(other, main)]
    ones[0].switch()
    while not (ones[0].dead and others[0].dead):
        for each in (*ones, *others):
            if not each.dead:
                each.switch()
    for name in ("one", "other"):
        assert is_own_or_absent(capture_telemetry.span(name).attributes, burnt[name]), name
        assert capture_telemetry.span(name).parent is None
    counted = capture_telemetry.metrics.get("codoperf.function.cpu.time")
    assert sum(point.value for point in counted.points) <= sum(burnt.values()) * 1.05 + 0.004
    points = capture_telemetry.metric("codoperf.function.active").points
    assert [point for point in points if point.value and "by_turns" in str(point.attributes)] == []


@pytest.mark.measures
def test_a_greenlet_that_waits_for_the_loop(greenlet, capture_telemetry):
    """Synchronous code that is suspended in a greenlet until the loop has an answer: not what others burn."""

    def wait_for(awaitable):
        return greenlet.getcurrent().parent.switch(awaitable)

    async def in_greenlet(func):
        running = greenlet.greenlet(func)
        running.gr_context = greenlet.getcurrent().gr_context
        result = running.switch()
        while not running.dead:
            result = running.switch(await result)
        return result

    @co.monitor_performance("query")
    def query():
        before = burn("query", 0.005)
        wait_for(asyncio.sleep(0.02))
        co.current_operation().set("burnt", before + burn("query", 0.005))
        return 5

    async def burns():
        await asyncio.sleep(0.005)
        burn("burns", 0.03)

    async def main():
        return await asyncio.gather(in_greenlet(query), in_greenlet(query), burns())

    assert asyncio.run(main())[:2] == [5, 5]
    for span in capture_telemetry.spans:
        assert is_own_or_absent(span.attributes, span.attributes["burnt"])
        assert span.parent is None


@pytest.mark.measures
def test_gevent(tmp_path):
    """Under gevent's patched standard library every figure is the greenlet's own, or absent."""
    pytest.importorskip("gevent")
    program = Path(__file__).parent / "programs" / "green.py"
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    calls = Counter(name for name, *_ in result["spans"])
    assert calls == {"idle": 2, "busy": 3, "by turns": 2, "items": 1, "inner": 1, "outer": 1, "scope": 1}
    for name, parent, cpu_time, self_time, burnt_by_call in result["spans"]:
        account = burnt_by_call + (result["burnt"]["inner"] if name == "outer" else 0)
        assert cpu_time is None or is_own(cpu_time, account), name
        assert self_time is None or self_time <= cpu_time
        assert parent == ("outer" if name == "inner" else None)
    assert sum(result["counted"].values()) <= sum(result["burnt"].values()) * 1.05 + 0.01
    assert result["active"] == 0
    assert not result["current"]
