"""What has ended is let go: memory stays constant, and nothing waits for the cyclic collector."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import sys
import threading
import time
import types
import weakref
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

import codoperf_otel as co
from codoperf_otel._calls.call import Call

PACKAGE = str(Path(co.__file__).parent)
BATCH = 256  # how many calls wait to be folded, as docs/architecture.md says
KEPT = 1000  # the newest calls, which the global monitor keeps
STEPS = 40_000


class Discard(SpanExporter):
    """Takes all spans."""

    def export(self, spans):
        return SpanExportResult.SUCCESS


@pytest.fixture(params=["no provider", "spans"], autouse=True)
def setup(request, monkeypatch):
    """Without telemetry and with spans that are not kept; without greenlet, which keeps threads a while."""
    monkeypatch.delitem(sys.modules, "greenlet", raising=False)
    if request.param == "no provider":
        yield
        return
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(Discard()))
    meters = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    co.instrument(tracer_provider=provider, meter_provider=meters)
    yield
    co.uninstrument()
    provider.shutdown()
    meters.shutdown()


@pytest.fixture
def without_collector():
    """The cyclic collector does nothing in the test, and what was there before is not looked at."""
    for _ in range(KEPT):
        with co.performance_context("before"):
            pass
    gc.collect()
    gc.freeze()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def steps(scale):
    """How many steps are taken: enough for lists to be folded some times."""
    return max(scale(STEPS), 4 * BATCH)


class Growth:
    """How many more objects there are at the last step than when half of them were done."""

    def __init__(self, steps):
        self.steps = steps
        self.counts = []

    def note(self, left):
        """Look, at half of the steps and at the last."""
        if left in (self.steps // 2, 0):
            self.counts.append(len(gc.get_objects()))

    @property
    def is_small(self):
        """Far less than one object per step; what is folded once per batch may wait."""
        half, last = self.counts
        return last - half < self.steps // 4 + BATCH


def functions(step):
    """The next step as a decorated function, by what decorates it."""
    return {
        "function": co.monitor_performance("function")(step),
        "agent": co.agent("agent")(step),
        "scope": lambda *args: in_scope(step, *args),
    }


def in_scope(step, *args):
    with co.performance_context("scope"):
        step(*args)


DECORATED = ("function", "agent", "scope")


@pytest.mark.parametrize("decorated", DECORATED)
@pytest.mark.parametrize("how", ["call_soon", "call_soon_threadsafe", "add_done_callback"])
def test_callbacks_that_schedule_the_next(without_collector, steps, decorated, how):
    """A chain of callbacks, each started inside the one before, keeps none that has ended."""
    growth = Growth(steps)

    async def main():
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def schedule(left):
            if how == "call_soon":
                loop.call_soon(run, left)
            elif how == "add_done_callback":
                future = loop.create_future()
                future.add_done_callback(lambda _: run(left))
                future.set_result(None)
            else:
                context = contextvars.copy_context()
                loop.call_soon_threadsafe(lambda: context.run(run, left))

        def step(left):
            growth.note(left)
            if left:
                schedule(left - 1)
            else:
                done.set_result(None)

        run = functions(step)[decorated]
        schedule(steps)
        await done

    asyncio.run(main())
    assert growth.is_small, growth.counts


@pytest.mark.parametrize("kind", ["coroutine", "agent", "async with"])
def test_tasks_that_create_the_next(without_collector, steps, kind):
    """A chain of tasks, each created inside the one before, keeps none that has ended."""
    growth = Growth(steps)

    async def main():
        done = asyncio.get_running_loop().create_future()
        running = set()

        async def step(left):
            growth.note(left)
            await asyncio.sleep(0)
            if left:
                task = asyncio.create_task(run(left - 1))
                running.add(task)
                task.add_done_callback(running.discard)
            else:
                done.set_result(None)

        async def step_in_scope(left):
            async with co.performance_context("scope"):
                await step(left)

        run = {
            "coroutine": co.monitor_performance("coroutine")(step),
            "agent": co.agent("agent")(step),
            "async with": step_in_scope,
        }[kind]
        await run(steps)
        await done

    asyncio.run(main())
    assert growth.is_small, growth.counts


@pytest.mark.parametrize("decorated", DECORATED)
def test_threads_that_start_the_next(without_collector, steps, decorated):
    """A chain of threads with propagated context keeps nothing of those that have ended."""
    growth = Growth(steps)
    done = threading.Event()
    others = threading.active_count()

    def step(left):
        until = time.monotonic() + 5
        while threading.active_count() > others + 1 and time.monotonic() < until:
            time.sleep(0)  # those before it are about to end
        growth.note(left)
        if left:
            threading.Thread(target=co.propagate_context(run), args=(left - 1,)).start()
        else:
            done.set()

    run = functions(step)[decorated]
    run(growth.steps)
    assert done.wait(60)
    assert growth.is_small, growth.counts


def holding(name):
    """A generator that holds an operation open over its `yield`s."""
    with co.performance_context(name):
        yield 1
        yield 2


def test_interleaved_generators_with_scopes(without_collector, steps):
    """Scopes that close in the order they were opened, and not the other way round, leave nothing current."""
    growth = Growth(steps)
    for left in range(steps, -1, -1):
        one, other = holding("one"), holding("other")
        next(one)
        next(other)
        next(one)
        one.close()
        other.close()
        growth.note(left)
    assert growth.is_small, growth.counts
    assert not trace.get_current_span().get_span_context().is_valid
    assert co.current_agent() is None


def test_a_generator_with_a_scope_that_is_dropped(without_collector, steps):
    """A generator that is dropped in the middle closes its scope, wherever that happens."""
    growth = Growth(steps)
    for left in range(steps, -1, -1):
        running = holding("dropped")
        next(running)
        with co.agent("around"):
            del running
            assert co.current_agent() == "around"
        growth.note(left)
    assert growth.is_small, growth.counts
    assert not trace.get_current_span().get_span_context().is_valid


def test_an_exit_stack_used_across_tasks(without_collector, steps):
    """A scope that one task enters and another leaves is let go, and both tasks' parents are right."""
    growth = Growth(steps)

    async def main():
        for left in range(steps, -1, -1):
            stack = contextlib.ExitStack()

            async def enter(stack=stack):
                stack.enter_context(co.performance_context("held"))

            async def leave(stack=stack):
                stack.close()
                assert not trace.get_current_span().get_span_context().is_valid

            await asyncio.create_task(enter())
            await asyncio.create_task(leave())
            growth.note(left)

    asyncio.run(main())
    assert growth.is_small, growth.counts


@co.monitor_performance("numbers")
async def numbers():
    """An async generator that does not end."""
    while True:
        yield 1


@types.coroutine
def pause():
    """Suspends once."""
    yield


@co.monitor_performance("unfinished")
async def unfinished():
    """A coroutine that is not finished by itself."""
    while True:
        await pause()


def test_async_generators_that_are_broken_off(without_collector, steps):
    """An async generator left by `break` is gone some steps of the loop later."""
    growth = Growth(steps)

    async def main():
        for left in range(steps, -1, -1):
            async for _ in numbers():
                break
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            growth.note(left)

    asyncio.run(main())
    assert growth.is_small, growth.counts


def test_coroutines_that_are_never_finished(without_collector, steps):
    """A coroutine that is stepped once and dropped is gone."""
    growth = Growth(steps)
    for left in range(steps, -1, -1):
        unfinished().send(None)
        growth.note(left)
    assert growth.is_small, growth.counts


@pytest.mark.parametrize("decorated", [co.monitor_performance("later"), co.agent("later")])
def test_futures_that_are_never_done(without_collector, decorated):
    """The call of a future ends with the future, also where nobody sets its result."""
    before = calls()

    async def main():
        later = decorated(asyncio.get_running_loop().create_future)
        for _ in range(100):
            later()
        assert calls() == before

    asyncio.run(main())


# --- one call of each kind, and what it had ---


class Payload:
    """What a call has in its hands."""


def call_function(fails):
    @co.monitor_performance("function")
    def function(payload):
        if fails:
            raise ValueError(payload)
        return payload

    function(Payload.made)


def driven(awaitable):
    """Run a coroutine without a loop, which makes cycles of its own where one fails."""
    with contextlib.suppress(StopIteration):
        while True:
            awaitable.send(None)


def call_coroutine(fails):
    @co.tool("coroutine")
    async def coroutine(payload):
        await pause()
        if fails:
            raise ValueError(payload)
        return payload

    driven(coroutine(Payload.made))


def call_generator(fails):
    @co.monitor_performance("generator")
    def generator(payload):
        yield payload
        if fails:
            raise ValueError(payload)

    list(generator(Payload.made))


def call_async_generator(fails):
    @co.monitor_performance("async generator")
    async def generator(payload):
        yield payload
        await pause()
        if fails:
            raise ValueError(payload)

    async def main(payload):
        async for _ in generator(payload):
            pass

    driven(main(Payload.made))


def call_that_returns_a_coroutine(fails):
    async def later(payload):
        await pause()
        if fails:
            raise ValueError(payload)

    driven(co.monitor_performance("returns")(lambda payload: later(payload))(Payload.made))


def call_scope(fails):
    with co.performance_context("scope", some="thing"):
        payload = Payload.made
        if fails:
            raise ValueError(payload)


def call_captured(fails):
    @co.monitor_performance("captured", capture=("payload", "return"))
    def captured(payload):
        if fails:
            raise ValueError(payload)
        return payload

    captured(Payload.made)


def call_tracked(fails):
    @co.track_resource_usage("tracked")
    def tracked(payload):
        if fails:
            raise ValueError(payload)

    tracked(Payload.made)


CALLS = (
    call_function,
    call_coroutine,
    call_generator,
    call_async_generator,
    call_that_returns_a_coroutine,
    call_scope,
    call_captured,
    call_tracked,
)


def is_ours(kept):
    """Whether an object of this package's, or a frame of its code, is part of what is kept."""
    code = next(
        (
            getattr(kept, name)
            for name in ("f_code", "gi_code", "cr_code", "ag_code", "__code__")
            if isinstance(getattr(kept, name, None), types.CodeType)
        ),
        None,
    )
    return type(kept).__module__.startswith("codoperf_otel") or (
        code is not None and code.co_filename.startswith(PACKAGE)
    )


@pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "fails"])
@pytest.mark.parametrize("call", CALLS)
def test_no_cycle_of_ours(without_collector, call, fails):
    """After a call the cyclic collector finds nothing of this package's."""

    def once():
        Payload.made = Payload()
        with contextlib.suppress(ValueError):
            call(fails)
        del Payload.made

    once()  # what is made at the first call only
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        once()
        gc.collect()
        assert [kept for kept in gc.garbage if is_ours(kept)] == []
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


@pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "fails"])
@pytest.mark.parametrize("call", CALLS)
def test_what_a_call_had_goes_with_it(without_collector, call, fails):
    """Arguments, results and exceptions of a call go when the caller lets them go."""
    Payload.made = Payload()
    reference = weakref.ref(Payload.made)
    with contextlib.suppress(ValueError):
        call(fails)
    del Payload.made
    assert reference() is None


def test_what_a_coroutine_had_goes_with_it(without_collector):
    """So they do with a coroutine that fails, is closed, is cancelled, or is dropped."""

    @co.monitor_performance("coroutine")
    async def coroutine(payload):
        await pause()
        raise ValueError(payload)

    def failing(running):
        with contextlib.suppress(ValueError):
            running.send(None)

    def throwing(running):
        with contextlib.suppress(KeyError):
            running.throw(KeyError())

    for end in (failing, throwing, lambda running: running.close(), lambda running: None):
        payload = Payload()
        reference = weakref.ref(payload)
        running = coroutine(payload)
        running.send(None)
        end(running)
        del running, payload
        assert reference() is None


@pytest.mark.parametrize("kind", ["generator", "async generator"])
def test_what_a_generator_had_goes_with_it(without_collector, kind):
    """So they do with a generator that is exhausted, fails, is closed, or is dropped."""

    @co.monitor_performance("generator")
    def generator(payload):
        yield 1
        raise ValueError(payload)

    @co.monitor_performance("async generator")
    async def async_generator(payload):
        yield 1
        raise ValueError(payload)

    def step(awaitable):
        with contextlib.suppress(StopIteration, StopAsyncIteration, ValueError):
            awaitable.send(None)

    def advance(running):
        if kind == "generator":
            with contextlib.suppress(ValueError):
                next(running)
        else:
            step(running.asend(None))

    def close(running):
        if kind == "generator":
            running.close()
        else:
            step(running.aclose())

    for end in (advance, close, lambda running: None):
        payload = Payload()
        reference = weakref.ref(payload)
        running = (generator if kind == "generator" else async_generator)(payload)
        advance(running)
        end(running)
        del running, payload
        assert reference() is None


class Kept:
    """Values that are alive, as a program notes them that lets go of each at once."""

    def __init__(self):
        self._values = weakref.WeakSet()
        self.counts = []

    def new(self):
        payload = Payload()
        self._values.add(payload)
        return payload

    def count(self):
        self.counts.append(len(self._values))


def generator_items(kept):
    @co.monitor_performance("generator")
    def generator(payload):
        del payload
        yield kept.new()
        yield kept.new()

    for payload in generator(kept.new()):
        del payload
        kept.count()


def async_generator_items(kept):
    @co.monitor_performance("async generator")
    async def generator(payload):
        del payload
        yield kept.new()
        yield kept.new()

    async def main():
        async for payload in generator(kept.new()):
            del payload
            kept.count()

    driven(main())


def coroutine_futures(kept):
    @co.monitor_performance("coroutine")
    async def coroutine(payload):
        del payload
        for _ in range(2):
            result = await finished(kept.new())
            del result
            await asyncio.sleep(0)  # until then the task has the future
            kept.count()

    def finished(result):
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, result)
        return future

    asyncio.run(coroutine(kept.new()))


def failed_futures(kept):
    @co.monitor_performance("coroutine")
    async def coroutine():
        await asyncio.to_thread(fails)

    def fails():
        payload = kept.new()  # noqa: F841
        raise ValueError

    async def main():
        with contextlib.suppress(ValueError):
            await coroutine()

    asyncio.run(main())
    kept.count()


@pytest.mark.parametrize("work", [generator_items, async_generator_items, coroutine_futures, failed_futures])
def test_what_a_function_has_let_go_of_is_gone(without_collector, work):
    """So are arguments, items of generators, and futures that coroutines await."""
    kept = Kept()
    work(kept)
    assert kept.counts == [0] * len(kept.counts)
    assert kept.counts


def test_the_statistics_of_a_monitor_go_with_it(without_collector):
    """A monitor of one's own, and a function that it counted, are let go."""
    monitor = co.PerformanceMonitor()
    work = co.monitor_performance("work", monitor)(lambda: None)
    work()
    reference = weakref.ref(monitor)
    del monitor, work
    assert reference() is None


@co.tool
def tool():
    """A tool."""


@co.agent("refused", budget=co.Budget(tool_calls=0))
def refused():
    tool()


@co.agent("refused generator", budget=co.Budget(tool_calls=0))
def refused_generator():
    yield tool()


@co.agent("exceeds", budget=co.Budget(wall_s=1e-9))
def exceeds():
    pass


def block():
    with co.agent("refused block", budget=co.Budget(tool_calls=0)):
        tool()


def tracked():
    co.ResourceTracker().start_tracking("never stopped")


ENDINGS = {
    "refused": refused,
    "refused generator": lambda: list(refused_generator()),
    "exceeded": exceeds,
    "refused block": block,
    "never stopped": tracked,
}


def calls():
    """The calls that are there, running or ended."""
    return sum(isinstance(each, Call) for each in gc.get_objects())


@pytest.mark.parametrize("ending", ENDINGS)
def test_no_odd_end_leaves_a_cycle(without_collector, ending):
    """What a budget refuses, and what is never stopped, is let go as soon as nobody has it."""
    before = calls()
    for _ in range(10):
        with contextlib.suppress(co.BudgetExceeded):
            ENDINGS[ending]()
    assert calls() == before
