"""The driver: every kind of callable, its context, its CPU time and its outcome."""

from __future__ import annotations

import asyncio
import gc
import inspect
import pickle
import threading
import time
import weakref

import pytest
from opentelemetry import context, trace
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.trace import StatusCode

from codoperf_otel._calls.runtime_context import Runtime
from codoperf_otel.agents import agent, propagate_context, tool
from codoperf_otel.performance_monitor import (
    PerformanceMonitor,
    clear_performance_metrics,
    get_performance_stats,
    monitor_performance,
    performance_context,
)


def burn(seconds: float) -> None:
    """Use CPU time of this thread."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


@monitor_performance
def importable() -> int:
    """Something that pickle can find."""
    return 1


def test_function_keeps_its_result_name_and_signature(telemetry):
    """A decorated function gives what it gave, and says what it said of itself."""

    @monitor_performance
    def add(left: int, right: int = 2) -> int:
        """Add."""
        return left + right

    assert add(1) == 3
    assert add.__name__ == "add"
    assert add.__doc__ == "Add."
    assert list(inspect.signature(add).parameters) == ["left", "right"]


def test_function_span_names_the_code(telemetry):
    """The span is named after the qualified name and says where the code stands."""
    importable()
    span = telemetry.span(f"{__name__}.importable")
    assert span.attributes["code.function.name"] == f"{__name__}.importable"
    assert span.attributes["code.file.path"] == __file__
    assert span.attributes["code.line.number"] > 0
    assert span.attributes["codoperf.cpu.time"] >= 0
    assert span.instrumentation_scope.name == "codoperf_otel"


def test_decorated_function_pickles_by_reference(telemetry):
    """A decorated function goes through pickle as itself."""
    assert pickle.loads(pickle.dumps(importable)) is importable


def test_given_name_is_the_span_and_the_statistics(telemetry):
    """A given name is the span's and the statistics'; the metric keeps the qualified name."""

    @monitor_performance("sum up")
    def total():
        return 0

    clear_performance_metrics()
    total()
    assert telemetry.span("sum up")
    assert get_performance_stats("sum up")["total_calls"] == 1
    ((attributes, count),) = telemetry.values("codoperf.function.duration").items()
    assert dict(attributes)["code.function.name"].endswith("total")
    assert count == 1


@pytest.mark.parametrize("kind", [classmethod, staticmethod])
def test_class_and_static_methods_stay_what_they_are(telemetry, kind):
    """A classmethod or staticmethod under the decorator is still one."""

    class Owner:
        @monitor_performance("method")
        @kind
        def method(*args):
            return args

    assert Owner.method(1) == Owner().method(1)
    assert len(telemetry.spans("method")) == 2


def test_every_kind_stays_of_its_kind(telemetry):
    """Coroutine, generator and async generator functions are told as such after decoration."""

    async def coroutine():
        pass

    def generator():
        yield

    async def async_generator():
        yield

    assert inspect.iscoroutinefunction(monitor_performance(coroutine))
    assert inspect.isgeneratorfunction(monitor_performance(generator))
    assert inspect.isasyncgenfunction(monitor_performance(async_generator))


def test_exception_leaves_unchanged_and_is_recorded(telemetry):
    """The very exception reaches the caller; span and metric name its class."""
    error = KeyError("missing")

    @monitor_performance("fails")
    def fails():
        raise error

    with pytest.raises(KeyError) as caught:
        fails()
    assert caught.value is error
    span = telemetry.span("fails")
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == str(error)
    assert span.attributes["error.type"] == "KeyError"
    assert span.events[0].name == "exception"
    ((attributes, _),) = telemetry.values("codoperf.function.duration").items()
    assert ("error.type", "KeyError") in attributes


def test_error_type_is_fully_qualified(telemetry):
    """An exception class outside builtins is named with its module."""

    class OddError(Exception):
        def __str__(self):
            raise RuntimeError("no text")

    with pytest.raises(OddError), performance_context("odd"):
        raise OddError
    span = telemetry.span("odd")
    assert span.attributes["error.type"].startswith(f"{__name__}.")
    assert span.events[0].attributes["exception.type"] == span.attributes["error.type"]


def test_exit_without_a_code_is_no_failure(telemetry):
    """`sys.exit()` ends a call without marking it as failed; `sys.exit(3)` marks it."""
    for code in (0, 3):
        with pytest.raises(SystemExit), performance_context(f"exit {code}"):
            raise SystemExit(code)
    assert telemetry.span("exit 0").status.status_code is StatusCode.UNSET
    assert telemetry.span("exit 3").status.status_code is StatusCode.ERROR


def test_generator_protocol_passes_through(telemetry):
    """send, throw and the return value are those of the undecorated generator."""

    @monitor_performance("generator")
    def echo():
        got = []
        while True:
            try:
                value = yield len(got)
            except ValueError as error:
                value = str(error)
            if value is None:
                return got
            got.append(value)

    running = echo()
    assert next(running) == 0
    assert running.send("a") == 1
    assert running.throw(ValueError("b")) == 2
    with pytest.raises(StopIteration) as stop:
        running.send(None)
    assert stop.value.value == ["a", "b"]
    span = telemetry.span("generator")
    assert span.attributes["codoperf.yielded.count"] == 3
    assert span.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_generator_that_yields_when_it_is_closed_is_abandoned(telemetry, asynchronous):
    """Nobody takes what it yields then, so it never comes to its end."""

    @monitor_performance("stubborn")
    def stubborn():
        try:
            yield 1
        finally:
            yield 2

    @monitor_performance("stubborn")
    async def stubborn_later():
        try:
            yield 1
        finally:
            yield 2

    async def close_later():
        running = stubborn_later()
        await anext(running)
        await running.aclose()

    def close():
        running = stubborn()
        next(running)
        running.close()

    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        asyncio.run(close_later()) if asynchronous else close()
    span = telemetry.span("stubborn")
    assert span.attributes["codoperf.outcome"] == "abandoned"
    assert span.attributes["codoperf.yielded.count"] == 2


def test_generator_left_early_is_abandoned(telemetry):
    """A generator closed early ends its span once, as abandoned and not as failed."""

    @monitor_performance("numbers")
    def numbers():
        yield 1
        yield 2

    for _ in numbers():
        break
    gc.collect()
    span = telemetry.span("numbers")
    assert span.attributes["codoperf.outcome"] == "abandoned"
    assert span.status.status_code is StatusCode.UNSET
    assert "error.type" not in span.attributes


def test_generator_never_started_has_no_span(telemetry):
    """A generator that nobody ran is no call."""

    @monitor_performance("idle")
    def idle():
        yield

    idle().close()
    assert not telemetry.spans("idle")


def test_generator_leaves_no_context_at_its_consumer(telemetry):
    """Between two items the consumer's own context is in force."""

    @monitor_performance("producer")
    def producer():
        yield trace.get_current_span()
        yield trace.get_current_span()

    before = context.get_current()
    running = producer()
    first = next(running)
    assert context.get_current() is before
    assert next(running) is first
    running.close()


def test_coroutine_result_and_suspension(telemetry):
    """A coroutine gives its result; the time it was suspended is told apart."""

    @monitor_performance("waits")
    async def waits():
        await asyncio.sleep(0.02)
        return 5

    before = time.thread_time()
    assert asyncio.run(waits()) == 5
    spent = time.thread_time() - before
    span = telemetry.span("waits")
    assert span.attributes["codoperf.suspended.time"] >= 0.019
    assert span.attributes["codoperf.cpu.time"] <= spent


def test_cancelled_task_is_cancelled(telemetry):
    """A cancelled coroutine ends as cancelled, not as failed."""

    @monitor_performance("sleeper")
    async def sleeper():
        await asyncio.sleep(60)

    async def main():
        task = asyncio.create_task(sleeper())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    span = telemetry.span("sleeper")
    assert span.attributes["codoperf.outcome"] == "cancelled"
    assert span.status.status_code is StatusCode.UNSET


def test_user_span_held_open_across_await_keeps_its_children(telemetry):
    """A span that user code holds open over an await is the parent of what follows."""

    @monitor_performance("child")
    async def child():
        await asyncio.sleep(0)

    @monitor_performance("outer")
    async def outer():
        with telemetry.tracer.start_as_current_span("held"):
            await asyncio.sleep(0)
            await child()
        await child()

    asyncio.run(outer())
    first, second = telemetry.spans("child")
    assert telemetry.parent(first) == "held"
    assert telemetry.parent(second) == "outer"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_user_span_held_open_across_yield_keeps_its_children(telemetry, caplog, asynchronous):
    """A span held open over a yield is the parent of what follows, in both kinds of generator."""

    @monitor_performance("child")
    def child():
        pass

    @monitor_performance("items")
    def items():
        with telemetry.tracer.start_as_current_span("held"):
            yield
            child()

    @monitor_performance("items")
    async def async_items():
        with telemetry.tracer.start_as_current_span("held"):
            yield
            child()

    async def consume():
        async for _ in async_items():
            pass

    if asynchronous:
        asyncio.run(consume())
    else:
        list(items())
    assert telemetry.parent(telemetry.span("child")) == "held"
    assert telemetry.parent(telemetry.span("held")) == "items"
    assert "detach" not in caplog.text


def test_async_generator_protocol_passes_through(telemetry):
    """asend, athrow and aclose are those of the undecorated async generator."""

    @monitor_performance("stream")
    async def stream():
        try:
            value = yield 1
            yield value
        except ValueError:
            yield "caught"

    async def main():
        running = stream()
        assert await anext(running) == 1
        assert await running.asend("sent") == "sent"
        assert await running.athrow(ValueError()) == "caught"
        await running.aclose()

    asyncio.run(main())
    span = telemetry.span("stream")
    assert span.attributes["codoperf.yielded.count"] == 3
    assert span.attributes["codoperf.outcome"] == "abandoned"


def test_sleep_costs_no_cpu(telemetry):
    """Blocked time is wall time, not CPU time."""
    before = time.thread_time()
    with performance_context("nap"):
        time.sleep(0.05)
    spent = time.thread_time() - before
    span = telemetry.span("nap")
    assert span.attributes["codoperf.cpu.time"] <= spent
    assert span.end_time - span.start_time >= 50_000_000


def test_self_time_leaves_out_monitored_calls_inside(telemetry):
    """The parent's self time is its CPU time less that of the monitored call inside."""

    @monitor_performance("inner")
    def inner():
        burn(0.03)

    @monitor_performance("outer")
    def outer():
        burn(0.01)
        inner()

    before = time.thread_time()
    outer()
    spent = time.thread_time() - before
    attributes = telemetry.span("outer").attributes
    assert 0.04 <= attributes["codoperf.cpu.time"] <= spent
    assert 0.01 <= attributes["codoperf.cpu.self_time"] <= spent - 0.03


def test_self_time_is_on_leaves_too(telemetry):
    """A call without calls inside has its CPU time as self time, so that a search by it finds it."""

    @monitor_performance("leaf")
    def leaf():
        burn(0.001)

    leaf()
    with performance_context("scope"):
        pass
    for name in ("leaf", "scope"):
        attributes = telemetry.span(name).attributes
        assert attributes["codoperf.cpu.self_time"] == attributes["codoperf.cpu.time"]


def test_scope_inside_a_driven_coroutine_has_its_own_cpu(telemetry):
    """A `with` scope in a decorated coroutine shows what ran in it, not what ran beside it."""

    @agent("a")
    async def work():
        with performance_context("block"):
            burn(0.02)
            await asyncio.sleep(0.01)
            burn(0.02)

    async def noise():
        burn(0.05)

    async def main():
        await asyncio.gather(work(), noise())

    before = time.thread_time()
    asyncio.run(main())
    spent = time.thread_time() - before
    assert 0.04 <= telemetry.span("block").attributes["codoperf.cpu.time"] <= spent - 0.05


def test_scope_in_an_undriven_task_has_no_cpu_figure(telemetry):
    """Where the thread runs other tasks too, a CPU figure would be a guess and is absent."""

    async def work():
        with performance_context("block"):
            await asyncio.sleep(0)

    asyncio.run(work())
    assert "codoperf.cpu.time" not in telemetry.span("block").attributes


def test_a_scope_that_is_left_twice_is_counted_once(telemetry):
    """The program goes on: leaving a block that is not open does nothing."""
    scope = performance_context("left twice")
    scope.__enter__()
    for _ in range(2):
        scope.__exit__(None, None, None)
    assert telemetry.span("left twice").name == "left twice"


def test_interleaved_scopes_close_their_own(telemetry, caplog):
    """Scopes of one task that end out of order leave the context as it was."""
    before = context.get_current()
    outer, inner = performance_context("outer"), performance_context("inner")
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    inner.__exit__(None, None, None)
    assert context.get_current() is before
    assert len(telemetry.spans()) == 2
    assert not caplog.records


def test_operation_says_memory_and_process_cpu(telemetry):
    """An operation carries the process's memory at start, end and peak, and its CPU time."""
    with performance_context("block", shard=3):
        burn(0.01)
    attributes = telemetry.span("block").attributes
    assert attributes["shard"] == 3
    assert attributes["codoperf.operation.name"] == "block"
    assert attributes["codoperf.process.memory.peak"] >= attributes["codoperf.process.memory.start"] > 0
    assert attributes["codoperf.process.memory.peak"] >= attributes["codoperf.process.memory.end"] > 0
    assert attributes["codoperf.process.cpu.time"] >= 0.009


def test_agent_follows_tasks_and_threads(telemetry):
    """The agent in force reaches gathered tasks, `asyncio.to_thread` and propagated threads."""

    @tool("look")
    def look():
        pass

    @agent("scout")
    async def scout():
        await asyncio.gather(asyncio.to_thread(look), asyncio.create_task(later()))
        thread = threading.Thread(target=propagate_context(look))
        thread.start()
        thread.join()

    async def later():
        look()

    asyncio.run(scout())
    assert [s.attributes["gen_ai.agent.name"] for s in telemetry.spans("execute_tool look")] == ["scout"] * 3
    assert all(telemetry.parent(s) == "invoke_agent scout" for s in telemetry.spans("execute_tool look"))


def test_agent_is_not_in_baggage(telemetry):
    """The agent's name does not travel in propagated headers."""
    from opentelemetry import propagate

    carrier: dict[str, str] = {}
    with agent("secret"):
        propagate.inject(carrier)
    assert "secret" not in str(carrier)
    assert set(carrier) == {"traceparent"}


def test_propagated_thread_charges_the_operation_it_came_from(telemetry):
    """CPU time of a propagated function is the operation's, in the span and in the counter."""
    before = time.process_time()
    with performance_context("fan out"):
        threads = [threading.Thread(target=propagate_context(burn), args=(0.03,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    spent = time.process_time() - before
    assert 0.06 <= telemetry.span("fan out").attributes["codoperf.cpu.time"] <= spent
    operation = frozenset({("codoperf.operation.name", "fan out")})
    assert 0.06 <= telemetry.values("codoperf.operation.cpu.time")[operation] <= spent


def test_propagate_refuses_coroutine_functions():
    """A coroutine function is refused by name: its task takes the context along."""

    async def coroutine():
        pass

    with pytest.raises(TypeError, match="coroutine"):
        propagate_context(coroutine)


def test_without_a_provider_calls_still_count():
    """With no SDK set up there is no span, and the statistics are still exact."""
    monitor = PerformanceMonitor()

    @monitor_performance("bare", monitor)
    def bare():
        return trace.get_current_span()

    before = context.get_current()
    assert bare() is trace.INVALID_SPAN
    assert context.get_current() is before
    assert monitor.get_stats("bare")["total_calls"] == 1


def test_failing_sampler_does_not_reach_the_caller(telemetry, caplog):
    """A tracer that raises costs the span, not the call."""

    class Broken:
        def start_span(self, *args, **kwargs):
            raise RuntimeError("sampler")

    from codoperf_otel import _telemetry

    @monitor_performance("call")
    def call():
        return 1

    _telemetry.active().tracer = Broken()
    assert call() == 1
    assert "no span for call" in caplog.text


def test_another_runtime_context_is_asked_itself(monkeypatch):
    """A runtime context that does more than set its variable hears of each Context."""
    heard = []

    class Hearing(ContextVarsRuntimeContext):
        def attach(self, given):
            heard.append(given)
            return super().attach(given)

    monkeypatch.setattr(context, "_RUNTIME_CONTEXT", Hearing())
    runtime, given = Runtime(), context.Context({"a": 1})
    runtime.attach(given)
    assert heard == [given]
    assert runtime.get_current() is context.get_current() is given


def test_calls_running_now_are_counted(telemetry):
    """The active instrument shows a call while it runs and none after."""

    def running():
        operation = frozenset({("codoperf.operation.name", "execute_tool slow")})
        return telemetry.values("codoperf.operation.active")[operation]

    @tool("slow")
    def slow():
        return running()

    assert (slow(), running()) == (1, 0)


def test_counts_are_exact_under_threads(telemetry):
    """What eight threads ran is counted once each, in telemetry and in statistics."""
    monitor = PerformanceMonitor()

    @monitor_performance("hot", monitor)
    def hot():
        pass

    def loop():
        for _ in range(500):
            hot()

    threads = [threading.Thread(target=loop) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert monitor.get_stats("hot")["total_calls"] == 4000
    assert list(telemetry.values("codoperf.function.duration").values()) == [4000]
    assert len(telemetry.spans("hot")) == 4000


def test_ended_calls_do_not_chain(telemetry):
    """Tasks that start each other keep alive no more than the newest calls."""
    seen = []

    @tool("step")
    async def step(left):
        seen.append(weakref.ref(trace.get_current_span()))
        if left:
            return asyncio.create_task(step(left - 1))
        return None

    async def main():
        task = await step(5)
        while task is not None:
            task = await task
        telemetry.exporter.clear()
        return [span() for span in seen if span() is not None]

    assert len(asyncio.run(main())) <= 1


def test_a_deep_traceback_is_bounded(telemetry):
    """Each span on an exception's way has where it was raised, not all the frames below itself once more."""

    @monitor_performance("deep")
    def deep(left):
        if not left:
            raise ValueError("at the bottom")
        deep(left - 1)

    with pytest.raises(ValueError, match="at the bottom"):
        deep(100)
    stacks = [span.events[-1].attributes["exception.stacktrace"] for span in telemetry.spans()]
    assert len(stacks) == 101
    assert all(stack.endswith("ValueError: at the bottom\n") for stack in stacks)
    assert max(map(len, stacks)) < 2 * len(stacks[60])
    assert stacks[-1].startswith("(the innermost 100 frames)\nTraceback (most recent call last):\n")
