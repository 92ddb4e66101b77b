"""Tasks of asyncio that are followed: each has its own CPU time, and looks as it does without us."""

from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import linecache
import subprocess
import sys
import threading
import time
import traceback
import weakref
from collections import Counter

import pytest
from opentelemetry import trace

import codoperf_otel as co
from codoperf_otel._calls import task_steps, thread_clock
from codoperf_otel._workers import tasks, threads
from codoperf_otel.sdk import ResourceSpanProcessor, new_event_loop

pytestmark = pytest.mark.usefixtures("no_collection")

CPU, SELF = "codoperf.cpu.time", "codoperf.cpu.self_time"
has_eager_tasks = pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")


@pytest.fixture
def other(telemetry):
    """A tracer of another library, whose spans the processor measures."""
    telemetry.tracer_provider.add_span_processor(ResourceSpanProcessor())
    return telemetry.tracer_provider.get_tracer("another.library")


@pytest.fixture
def following():
    """The tasks of the loops that are come to are followed."""
    tasks.start()
    yield
    tasks.stop()


def run(main, set_up=None):
    """Run a coroutine in a loop whose main task is followed, too; `set_up` is called with the loop before."""

    def made():
        loop = new_event_loop()
        if set_up is not None:
            set_up(loop)
        return loop

    with asyncio.Runner(loop_factory=made) as runner:
        result = runner.run(main)
    assert thread_clock.thread.clock.current is None
    return result


def figures(telemetry, name):
    """CPU time and self CPU time of a span in ms, None where it has none."""
    attributes = telemetry.span(name).attributes
    if CPU not in attributes:
        assert SELF not in attributes
        return None
    return attributes[CPU] * 1e3, attributes.get(SELF, attributes[CPU]) * 1e3


def counted_cpu_time(telemetry):
    """What the metrics have of all functions and operations, in seconds."""
    names = ("codoperf.function.cpu.time", "codoperf.operation.cpu.time")
    return sum(value for name in names for value in telemetry.values(name).values())


# --- figures ---


def test_blocks_and_spans_in_a_task_have_its_own_cpu_time(telemetry, other, cpu):
    """What other tasks run meanwhile is theirs."""

    async def work(name, ms):
        with other.start_as_current_span(f"span {name}"), co.performance_context(f"block {name}"):
            for _ in range(3):
                cpu.burn(ms)
                await asyncio.sleep(0)

    async def main():
        await asyncio.gather(work("a", 1), work("b", 10))

    run(main())
    assert figures(telemetry, "block a") == (3, 3)
    assert figures(telemetry, "block b") == (30, 30)
    assert figures(telemetry, "span a") == (3, 0)
    assert figures(telemetry, "span b") == (30, 0)


def gathered(*work):
    """All at once."""
    return asyncio.gather(*[each() for each in work])


async def grouped(*work):
    """The same by a task group."""
    async with asyncio.TaskGroup() as group:
        for each in work:
            group.create_task(each())


async def awaited(*work):
    """One task after the other, each with a time-out."""
    for each in work:
        await asyncio.wait_for(asyncio.create_task(each()), 60)


async def by_anyio(*work):
    """The same by a task group of anyio's."""
    anyio = pytest.importorskip("anyio")
    async with anyio.create_task_group() as group:
        for each in work:
            group.start_soon(each)


def eager(loop):
    """Let tasks begin at once."""
    loop.set_task_factory(None)
    loop.set_task_factory(asyncio.eager_task_factory)
    tasks.follow(loop, tasks.Switch())


def own(loop):
    """Let a factory of somebody else make the tasks, each with a coroutine around its own."""

    async def around(coro):
        return await coro

    def factory(loop, coro, **named):
        return asyncio.Task(around(coro), loop=loop, **named)

    loop.set_task_factory(factory)
    tasks.follow(loop, tasks.Switch())


def debug(loop):
    """Turn on the debug mode."""
    loop.set_debug(True)


WAYS = pytest.mark.parametrize("way", [gathered, grouped, awaited, by_anyio])
LOOPS = pytest.mark.parametrize(
    "set_up", [None, debug, own, pytest.param(eager, marks=has_eager_tasks)], ids=lambda f: f and f.__name__
)


@WAYS
@LOOPS
def test_what_a_task_runs_belongs_to_who_created_it(telemetry, other, cpu, way, set_up):
    """Outside any call it is that operation's, or that other library's span's; calls have their own."""

    @co.monitor_performance("call")
    async def call():
        cpu.burn(1)
        await asyncio.sleep(0)
        cpu.burn(1)

    async def work():
        cpu.burn(10)
        await asyncio.sleep(0)
        await call()
        cpu.burn(10)

    async def main():
        with co.performance_context("operation"):
            cpu.burn(100)
            await way(work, work)
            with other.start_as_current_span("span"):
                await way(work)

    before = counted_cpu_time(telemetry)
    run(main(), set_up)
    assert figures(telemetry, "span")[1] == 20
    assert figures(telemetry, "operation")[1] == 140
    assert [span.attributes[CPU] for span in telemetry.spans("call")] == [0.002] * 3
    assert counted_cpu_time(telemetry) - before == pytest.approx(0.166)


def test_calls_inside_are_not_in_the_cpu_time_of_who_created_the_task(telemetry, cpu):
    """As with tasks that are not followed: a parent has what it awaits, and not what it gathers."""

    @co.monitor_performance("call")
    async def call():
        cpu.burn(1)

    @co.monitor_performance("around")
    async def around():
        await asyncio.gather(call(), call())
        cpu.burn(10)

    run(around())
    assert figures(telemetry, "around") == (10, 10)


def test_a_task_that_outlives_its_operation_is_counted_in_metrics_only(telemetry, cpu):
    """The operation's span has ended by then."""

    async def work():
        cpu.burn(1)
        await asyncio.sleep(0.001)
        cpu.burn(2)

    async def main():
        with co.performance_context("operation"):
            task = asyncio.create_task(work())
            await asyncio.sleep(0)
        await task

    before = counted_cpu_time(telemetry)
    run(main())
    assert figures(telemetry, "operation") == (0, 0)
    assert counted_cpu_time(telemetry) - before == pytest.approx(0.003)


def test_a_span_that_has_ended_or_left_hands_on_what_it_is_lent(telemetry, other, cpu):
    """What tasks run for it belongs to the operation around it then."""

    async def work(ms):
        await asyncio.sleep(0)
        cpu.burn(ms)

    async def main():
        with co.performance_context("operation"):
            with other.start_as_current_span("ended"):
                late = asyncio.create_task(work(1))
            await late
            span = other.start_span("left")
            with trace.use_span(span):
                await asyncio.create_task(work(10))
                task = asyncio.create_task(work(100))
                await asyncio.sleep(0)
            other.start_span("sibling").end()
            await task
        span.end()

    run(main())
    assert figures(telemetry, "ended") == (0, 0)
    assert figures(telemetry, "left") is None
    assert figures(telemetry, "operation") == (111, 111)


def test_a_span_that_ended_in_a_task_that_has_ended_hands_on_what_it_is_lent(telemetry, other, cpu):
    """As when a request starts a task and is done before it: the operation around both has it."""

    async def background(gate):
        await gate.wait()
        cpu.burn(5)

    async def request(gate):
        with other.start_as_current_span("request"):
            task = asyncio.create_task(background(gate))
            await asyncio.sleep(0)
        return task

    async def main():
        with co.performance_context("operation"):
            gate = asyncio.Event()
            task = await asyncio.create_task(request(gate))
            gate.set()
            await task

    run(main())
    assert figures(telemetry, "request") == (0, 0)
    assert figures(telemetry, "operation") == (5, 5)


def test_a_task_outside_any_call_is_nobodys_or_that_of_who_runs_the_loop(telemetry, cpu):
    """A block around the whole loop has it."""

    async def work():
        cpu.burn(1)
        await asyncio.sleep(0)
        with co.performance_context("inside"):
            cpu.burn(2)

    async def main():
        await asyncio.gather(work(), work())

    before = counted_cpu_time(telemetry)
    run(main())
    assert counted_cpu_time(telemetry) - before == pytest.approx(0.004)
    loop = new_event_loop()
    with co.performance_context("around"):
        loop.run_until_complete(main())
    loop.close()
    assert figures(telemetry, "around") == (6, 2)


def test_a_callback_is_no_task(telemetry, other, cpu):
    """A span in a callback of the loop has no figure: it may last while tasks run."""

    async def main():
        called = asyncio.get_running_loop().create_future()

        def callback():
            with other.start_as_current_span("callback"):
                cpu.burn(1)
            called.set_result(None)

        asyncio.get_running_loop().call_soon(callback)
        await called

    run(main())
    assert figures(telemetry, "callback") is None


def test_a_span_that_ends_in_another_task_has_no_figure(telemetry, other, cpu):
    """What it used is its own task's."""

    async def end(span):
        cpu.burn(10)
        span.end()

    async def main():
        with co.performance_context("operation"):
            with trace.use_span(other.start_span("moved")) as span:
                cpu.burn(1)
                await asyncio.create_task(end(span))
            cpu.burn(100)

    run(main())
    assert figures(telemetry, "moved") is None
    assert figures(telemetry, "operation") == (111, 111)


def test_threads_of_a_task_belong_to_its_operation(telemetry, cpu):
    """Lending to threads and following tasks go together."""

    def work():
        cpu.burn(5)

    async def task():
        cpu.burn(1)
        await asyncio.to_thread(work)

    async def main():
        with co.performance_context("operation"):
            await asyncio.gather(task(), task())

    threads.start()
    try:
        run(main())
    finally:
        threads.stop()
    assert figures(telemetry, "operation") == (12, 12)


burnt: Counter[str] = Counter()


def burn(name, seconds):
    """Use CPU time, and keep account of it."""
    began = now = time.thread_time()
    while now - began < seconds:
        now = time.thread_time()
    burnt[name] += now - began


@pytest.mark.measures
def test_what_many_coroutines_really_burn(telemetry, other):
    """Each span within 3 % or 3 ms; the sum of self times is the thread's CPU time."""

    async def burns(name, seconds):
        for _ in range(4):
            burn(name, seconds)
            await asyncio.sleep(0)

    async def in_span(name, seconds):
        with other.start_as_current_span(name):
            await burns(name, seconds)

    async def main():
        began = time.thread_time()
        with co.performance_context("operation"):
            calls = [co.monitor_performance("call")(burns)("call", 0.004)]
            spans = [in_span(f"span {number}", 0.001 * number) for number in range(1, 5)]
            await asyncio.gather(*calls, *spans, burns("operation", 0.003))
        return time.thread_time() - began

    burnt.clear()
    spent = run(main())
    for name in ("call", "operation", *(f"span {number}" for number in range(1, 5))):
        assert figures(telemetry, name)[1] == pytest.approx(burnt[name] * 1e3, rel=0.03, abs=3), name
    told = sum(figures(telemetry, span.name)[1] for span in telemetry.spans())
    assert told == pytest.approx(spent * 1e3, rel=0.03, abs=3)


# --- a task is as without us ---


def test_a_task_shows_its_own_code(following):
    """Whoever looks at it finds the coroutine: its name, its place, its stack, its state."""

    async def work():
        await asyncio.sleep(0)

    async def main():
        tasks.follow_running_loop()
        coroutine = work()
        task = asyncio.create_task(coroutine, name="mine")
        found = task.get_coro()
        assert asyncio.iscoroutine(found)
        assert inspect.iscoroutine(found)
        assert inspect.isawaitable(found)
        assert inspect.getcoroutinestate(found) == inspect.CORO_CREATED
        assert found.__qualname__ == work.__qualname__
        assert weakref.ref(found)() is found
        assert repr(found) == repr(coroutine)
        with pytest.raises(TypeError, match="cannot pickle 'coroutine' object"):
            copy.copy(found)
        await asyncio.sleep(0)
        assert inspect.getcoroutinestate(found) == inspect.CORO_SUSPENDED
        (frame,) = task.get_stack()
        assert frame.f_code is work.__code__
        assert f"work() running at {__file__}" in repr(task)
        assert task.get_name() == "mine"
        await task
        assert inspect.getcoroutinestate(found) == inspect.CORO_CLOSED

    asyncio.run(main())


def test_in_debug_mode_a_task_says_where_it_was_created(following):
    """The stack is that of a plain task."""

    def stacks():
        coroutine = asyncio.sleep(0)
        task = asyncio.get_running_loop().create_task(coroutine)
        return [frame.name for frame in task._source_traceback], task

    async def main():
        plain, first = stacks()
        tasks.follow_running_loop()
        followed, second = stacks()
        await asyncio.gather(first, second)
        assert [name for name in followed if name != "create_task"] == plain

    asyncio.run(main(), debug=True)


def test_results_exceptions_and_cancellations_are_as_without_us(following):
    """A traceback has a line or two more, and a task that is cancelled early never ran."""

    async def fails():
        await asyncio.sleep(0)
        raise KeyError("theirs")

    async def sleeps():
        seen.append("began")
        try:
            await asyncio.sleep(60)
        finally:
            seen.append("ended")

    async def main():
        tasks.follow_running_loop()
        assert await asyncio.create_task(asyncio.sleep(0, "result")) == "result"
        failing = asyncio.create_task(fails())
        await asyncio.wait([failing])
        assert failing.exception().args == ("theirs",)
        lines = traceback.extract_tb(failing.exception().__traceback__)
        assert lines[-1].name == "fails"
        assert {frame.filename for frame in lines[:-1]} == {task_steps.__file__}
        early, late = asyncio.create_task(sleeps()), asyncio.create_task(sleeps())
        early.cancel()
        await asyncio.sleep(0)
        late.cancel()
        done = await asyncio.gather(early, late, return_exceptions=True)
        assert [type(error) for error in done] == [asyncio.CancelledError] * 2
        assert seen == ["began", "ended"]
        with pytest.raises(TypeError, match="coroutine was expected"):
            asyncio.get_running_loop().create_task("no coroutine")

    seen = []
    asyncio.run(main())


def test_a_coroutine_that_is_closed_is_closed(following):
    """`close` reaches it, and nobody is charged afterwards."""

    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            seen.append("closed")

    async def main():
        tasks.follow_running_loop()
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.get_coro().close()
        task.cancel()
        with pytest.raises((asyncio.CancelledError, RuntimeError)):
            await task

    seen = []
    asyncio.run(main())
    assert seen == ["closed"]
    assert thread_clock.thread.clock.current is None


@has_eager_tasks
def test_an_eager_task_begins_at_once_and_anyio_knows_the_factory(following):
    """The factory is asyncio's own kind, from which anyio takes the constructor."""
    anyio = pytest.importorskip("anyio")

    async def work():
        seen.append(asyncio.current_task())

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        tasks.follow_running_loop()
        task = asyncio.create_task(work())
        assert seen == [task]
        assert task.done()
        async with anyio.create_task_group() as group:
            group.start_soon(work)
            assert len(seen) == 1
        assert loop.get_task_factory().__code__ is asyncio.eager_task_factory.__code__
        tasks.stop()
        assert loop.get_task_factory() is asyncio.eager_task_factory

    seen = []
    asyncio.run(main())
    assert len(seen) == 2


def test_uvloop(telemetry, cpu):
    """Its tasks are asyncio's."""
    uvloop = pytest.importorskip("uvloop")

    async def work():
        cpu.burn(1)
        await asyncio.sleep(0)
        cpu.burn(1)

    async def main():
        tasks.follow_running_loop()
        with co.performance_context("main"):
            await asyncio.gather(work(), work())
        await asyncio.create_task(inside())

    async def inside():
        with co.performance_context("inside"):
            await asyncio.gather(work(), work())

    tasks.start()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())
    finally:
        tasks.stop()
    assert figures(telemetry, "main") is None
    assert figures(telemetry, "inside") == (4, 4)


# --- which loops ---


def test_loops_are_followed_from_their_first_span_until_the_end(telemetry, cpu, following):
    """Each on its own thread; the main task of a loop was there before."""
    from codoperf_otel.sdk.task_follower import TaskFollower

    telemetry.tracer_provider.add_span_processor(TaskFollower())
    loops = []

    async def work(name):
        with co.performance_context(name):
            cpu.burn(1)
            await asyncio.sleep(0)

    async def main():
        loops.append(asyncio.get_running_loop())
        assert loops[-1].get_task_factory() is None
        await work("main")
        assert loops[-1].get_task_factory() is not None
        await asyncio.gather(work("task"), work("task"))

    asyncio.run(main())
    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    thread.join()
    assert [CPU in span.attributes for span in telemetry.spans("main")] == [False] * 2
    assert [span.attributes[CPU] for span in telemetry.spans("task")] == [0.001] * 4


def test_every_factory_is_put_back(following):
    """Also while the loop runs; tasks that are followed go on."""

    def mine(loop, coro, **named):
        return asyncio.Task(coro, loop=loop, **named)

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(mine)
        tasks.follow_running_loop()
        assert loop.get_task_factory() is not mine
        task = asyncio.create_task(asyncio.sleep(0.001, "result"))
        await asyncio.sleep(0)
        tasks.stop()
        assert loop.get_task_factory() is mine
        return await task

    assert asyncio.run(main()) == "result"


def test_a_factory_that_was_wrapped_stays_and_only_hands_on(following):
    """What others have put on top is theirs."""

    async def main():
        loop = asyncio.get_running_loop()
        tasks.follow_running_loop()
        inner = loop.get_task_factory()

        def outer(loop, coro, **named):
            return inner(loop, coro, **named)

        loop.set_task_factory(outer)
        tasks.stop()
        assert loop.get_task_factory() is outer
        coroutine = asyncio.sleep(0)
        task = asyncio.create_task(coroutine)
        assert task.get_coro() is coroutine
        await task

    asyncio.run(main())


def test_a_loop_without_task_factories_is_left_alone(following, caplog):
    """Not every loop has them; it is logged once, and nobody's code fails."""

    class Bare(asyncio.SelectorEventLoop):
        def get_task_factory(self):
            raise NotImplementedError

    async def main():
        tasks.follow_running_loop()
        tasks.follow_running_loop()

    with asyncio.Runner(loop_factory=Bare) as runner:
        runner.run(main())
    assert len(caplog.records) == 1


def test_loops_that_are_gone_are_not_kept(following):
    """A program may run one after the other."""

    async def main():
        tasks.follow_running_loop()

    for _ in range(3):
        asyncio.run(main())
    gc.collect()
    assert not tasks._followed


CONFIGURED = """
import asyncio
import codoperf_otel as co
from opentelemetry import trace

async def work():
    with trace.get_tracer("library").start_as_current_span("theirs") as span:
        await asyncio.sleep(0)
    return "codoperf.cpu.time" in span.attributes

async def main(inside):
    if inside:
        co.configure(asyncio=True)
    else:
        assert not await work()
    assert await asyncio.create_task(work())
    return asyncio.get_running_loop()

async def late():
    co.shutdown()
    assert asyncio.get_running_loop().get_task_factory() is None

asyncio.run(main(True))
with asyncio.Runner() as runner:
    loop = runner.run(main(False))
    assert loop.get_task_factory() is not None
    runner.run(late())
"""


@pytest.mark.once
def test_configure_follows_running_loops_and_those_to_come():
    """From the call on in a loop that runs, in others from their first span on; until `shutdown`."""
    environment = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS")}
    subprocess.run([sys.executable, "-P", "-c", CONFIGURED], check=True, timeout=60, env=environment)


# --- interrupts, memory ---


class _Stop(BaseException):
    """What a signal handler raises."""


class Interrupt:
    """A trace function that raises at a line of the steps; at a `try` Python runs no signal handler."""

    def __init__(self, at):
        self.left = at

    def __call__(self, frame, event, argument):
        if event == "line" and frame.f_code.co_filename == task_steps.__file__:
            is_try = linecache.getline(task_steps.__file__, frame.f_lineno).strip() == "try:"
            self.left -= 1
            if self.left <= 0 and not is_try:
                sys.settrace(None)
                raise _Stop(frame.f_lineno)
        return self


def run_steps(coroutine):
    """A task's steps, as a loop runs them."""
    try:
        made = task_steps.TaskSteps(coroutine)
        made.task = object()
        while True:
            made.send(None)
    except StopIteration:
        return
    finally:
        coroutine.close()


@pytest.mark.parametrize("lent", [False, True])
def test_an_interrupt_anywhere_leaves_nobody_charged(telemetry, other, lent):
    """An exception at any of these lines ends the task, and leaves nothing."""

    async def work():
        with other.start_as_current_span("span"):
            await asyncio.sleep(0)

    def interrupted(at):
        clock = thread_clock.thread.clock
        before, clock.current = clock.current, None
        sys.settrace(Interrupt(at))
        try:
            run_steps(work())
        finally:
            sys.settrace(None)
            left, clock.current = clock.current, before
            assert left is None, at

    interrupt = co.agent("lender")(interrupted) if lent else interrupted
    at, is_done = 0, False
    while not is_done:
        at += 1
        try:
            interrupt(at)
        except _Stop:
            continue
        is_done = True
    assert at > 40


def test_tasks_that_start_each_other_are_no_growing_chain(telemetry, other):
    """What has ended keeps nothing of what was around it."""

    class Kept:
        pass

    async def work(left, kept):
        with other.start_as_current_span("span"), co.performance_context("block"):
            await asyncio.sleep(0)
            if left:
                following = asyncio.create_task(work(left - 1, Kept()))
                refs.append(weakref.ref(following.get_coro()))
                running.append(following)
                running.pop(0)

    async def main():
        running.append(asyncio.create_task(work(20, Kept())))
        for _ in range(100):
            await asyncio.sleep(0)
        assert running[0].done()

    refs, running = [], []
    run(main())
    running.clear()
    telemetry.exporter.clear()
    gc.collect()
    assert not [ref for ref in refs if ref() is not None]


def test_many_tasks_of_one_call_take_no_memory(telemetry, cpu):
    """What they ran is summed up while the call goes on."""
    from codoperf_otel._calls.context import current_call

    async def work():
        cpu.burn(1)

    async def main():
        with co.performance_context("operation"):
            for _ in range(500):
                await asyncio.create_task(work())
            return len(current_call().shares._parts)

    assert run(main()) <= 101
    assert figures(telemetry, "operation") == (500, 500)
