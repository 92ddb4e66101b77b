"""The spans of other libraries: CPU time and agent where they are known, and nothing else changed."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import json
import os
import random
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from opentelemetry import context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult

import codoperf_otel as co
from codoperf_otel._calls import thread_clock
from codoperf_otel.sdk import ResourceSpanProcessor, new_event_loop

pytestmark = pytest.mark.usefixtures("no_collection")

PROTOCOLS = 600
CPU, SELF = "codoperf.cpu.time", "codoperf.cpu.self_time"
AGENT = "gen_ai.agent.name"


@pytest.fixture
def other(telemetry):
    """A tracer of another library, whose spans the processor measures."""
    telemetry.tracer_provider.add_span_processor(ResourceSpanProcessor())
    return telemetry.tracer_provider.get_tracer("another.library")


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


def is_nobody_charged():
    """Whether nothing was left charged on this thread."""
    return thread_clock.thread.clock.current is None


# --- figures ---


def test_a_span_has_the_cpu_time_between_start_and_end(telemetry, other, cpu):
    """Nested spans and calls each have their own: inclusive, and without what ran inside."""

    @co.monitor_performance("call")
    def call():
        cpu.burn(2)
        with other.start_as_current_span("inner"):
            cpu.burn(4)

    with other.start_as_current_span("outer"):
        cpu.burn(1)
        call()
        cpu.burn(8)
    cpu.burn(100)
    assert figures(telemetry, "outer") == (15, 9)
    assert figures(telemetry, "call") == (6, 2)
    assert figures(telemetry, "inner") == (4, 4)
    assert is_nobody_charged()


def test_metrics_count_it_for_the_nearest_call(telemetry, other, cpu):
    """What a call's foreign spans used is in its cell; what is outside any call is in none."""

    @co.monitor_performance("nearest")
    def call():
        cpu.burn(2)
        with other.start_as_current_span("outer"), other.start_as_current_span("inner"):
            cpu.burn(3)

    before = counted_cpu_time(telemetry)
    with other.start_as_current_span("around"):
        cpu.burn(50)
        call()
    assert counted_cpu_time(telemetry) - before == pytest.approx(0.005)


def test_a_span_that_is_not_current_leaves_when_a_sibling_starts(telemetry, other, cpu):
    """What it used so far is its caller's; the sibling has its own."""

    @co.monitor_performance("call")
    def call():
        first = other.start_span("first")
        cpu.burn(1)
        second = other.start_span("second")
        cpu.burn(2)
        first.end()
        cpu.burn(4)
        second.end()

    call()
    assert figures(telemetry, "first") is None
    assert figures(telemetry, "second") == (6, 6)
    assert figures(telemetry, "call") == (7, 1)


def test_a_parent_that_is_named_need_not_be_current(telemetry, other, cpu):
    """A span started under an explicit parent lets that parent stay."""
    parent = other.start_span("parent")
    cpu.burn(1)
    child = other.start_span("child", trace.set_span_in_context(parent))
    cpu.burn(2)
    child.end()
    cpu.burn(4)
    parent.end()
    assert figures(telemetry, "child") == (2, 2)
    assert figures(telemetry, "parent") == (7, 5)


def test_a_span_that_is_not_current_leaves_when_a_call_begins(telemetry, other, cpu):
    """A call's time is not that of a span which the call is no child of."""

    @co.monitor_performance("call")
    def call():
        cpu.burn(2)

    @co.monitor_performance("around")
    def around():
        span = other.start_span("aside")
        cpu.burn(1)
        call()
        span.end()

    around()
    assert figures(telemetry, "aside") is None
    assert figures(telemetry, "around") == (3, 1)


@pytest.mark.parametrize("kind", ["function", "block", "coroutine", "generator"])
def test_a_call_that_ends_unwinds_what_is_left_above_it(telemetry, other, cpu, kind):
    """Spans that never end, or end later, are given back to the call in which they started."""

    def work():
        spans.append(other.start_span("left"))
        context.attach(trace.set_span_in_context(spans[0]))
        cpu.burn(1)
        spans.append(other.start_span("left too"))
        cpu.burn(2)

    def call():
        return work()

    async def coroutine():
        return work()

    def generator():
        yield work()

    spans = []
    before = context.get_current()
    if kind == "function":
        co.monitor_performance("call")(call)()
    elif kind == "coroutine":
        with pytest.raises(StopIteration):
            co.monitor_performance("call")(coroutine)().send(None)
    elif kind == "generator":
        list(co.monitor_performance("call")(generator)())
    else:
        with co.performance_context("call"):
            work()
    context.attach(before)
    assert is_nobody_charged()
    cpu.burn(100)
    for span in spans:
        span.end()
    assert figures(telemetry, "left") is figures(telemetry, "left too") is None
    assert figures(telemetry, "call") == (3, 3)


def test_a_span_open_over_a_suspension_has_its_generators_time(telemetry, other, cpu):
    """What the consumer does between two items is not charged to the span."""

    @co.monitor_performance("items")
    def items():
        with other.start_as_current_span("inside"):
            cpu.burn(1)
            yield 1
            cpu.burn(2)

    with other.start_as_current_span("around"):
        for _ in items():
            cpu.burn(10)
    assert figures(telemetry, "inside") == (3, 3)
    assert figures(telemetry, "items") == (3, 0)
    assert figures(telemetry, "around") == (13, 10)


def test_a_span_that_ends_in_another_thread_has_no_figure(telemetry, other, cpu):
    """Its own thread takes it off when the next call or span begins there."""
    span = other.start_span("moved")
    cpu.burn(1)
    ending = threading.Thread(target=span.end)
    ending.start()
    ending.join()
    with trace.use_span(span), co.performance_context("next"):
        cpu.burn(2)
        assert thread_clock.thread.clock.current.outer is None
    assert figures(telemetry, "moved") is None
    assert figures(telemetry, "next") == (2, 2)
    assert is_nobody_charged()


def test_threads_have_their_own(telemetry, other, cpu):
    """A span that starts and ends in a worker has the worker's time, also under a parent elsewhere."""

    def work():
        with other.start_as_current_span("in worker", here):
            cpu.burn(5)

    with other.start_as_current_span("parent"), ThreadPoolExecutor() as pool:
        here = context.get_current()
        cpu.burn(1)
        pool.submit(work).result()
    assert figures(telemetry, "in worker") == (5, 5)
    assert figures(telemetry, "parent") == (1, 1)


def test_no_figure_where_a_loop_runs_that_is_not_followed(telemetry, other, cpu):
    """In a task or a callback of a loop the thread also runs others; a monitored coroutine is followed."""

    def callback():
        with other.start_as_current_span("callback"):
            cpu.burn(1)

    @co.monitor_performance("call")
    async def call():
        with other.start_as_current_span("followed"):
            cpu.burn(2)
            await asyncio.sleep(0)
            cpu.burn(4)

    async def main():
        asyncio.get_running_loop().call_soon(callback)
        with other.start_as_current_span("task"):
            await asyncio.sleep(0)
        outside.end()
        return await call()

    outside = other.start_span("ends in the loop")
    asyncio.run(main())
    assert {figures(telemetry, name) for name in ("callback", "task", "ends in the loop")} == {None}
    assert figures(telemetry, "followed") == (6, 6)


def test_a_loop_around_which_a_span_is_has_a_figure(telemetry, other, cpu):
    """A span around a whole loop has all that runs in it."""

    async def main():
        cpu.burn(3)

    with other.start_as_current_span("around"):
        asyncio.run(main())
    assert figures(telemetry, "around") == (3, 3)


# --- the random protocols ---


class Protocol:
    """Spans and calls at random in two threads: spans end here, elsewhere, out of order or never."""

    def __init__(self, seed, tracer, cpu):
        self.chance = random.Random(seed)
        self.tracer, self.cpu = tracer, cpu
        self.burnt = 0
        self.open = []
        self.pools = [ThreadPoolExecutor(1) for _ in range(2)]
        self.busy = set()

    def run(self):
        """Run both threads by turns."""
        for pool in self.pools * 3:
            pool.submit(self.root, pool).result()
        for pool in self.pools:
            pool.shutdown()

    def root(self, pool):
        """All that one thread burns is in this call, or in what is inside."""
        self.busy.add(pool)
        co.monitor_performance("root")(self.steps)(3)
        self.busy.remove(pool)

    def steps(self, depth):
        """Some steps, each with a burn before and after."""
        before = context.get_current()
        for _ in range(self.chance.randrange(6)):
            self.burn()
            self.chance.choice(self.KINDS)(self, depth)
            self.burn()
        context.attach(before)

    def burn(self):
        """A random time."""
        ms = self.chance.randrange(5)
        self.burnt += ms
        self.cpu.burn(ms)

    def start(self, depth):
        """Start a span, as a child of the current one, of another or of none; make it current or not."""
        parents = [None, context.Context(), *(trace.set_span_in_context(span) for span in self.open)]
        span = self.tracer.start_span("other", self.chance.choice(parents))
        self.open.append(span)
        if self.chance.random() < 0.6:
            context.attach(trace.set_span_in_context(span))

    def end(self, depth):
        """End any of the open spans."""
        if self.open:
            self.open.pop(self.chance.randrange(len(self.open))).end()

    def nest(self, depth):
        """A span as it is mostly used."""
        if depth:
            with self.tracer.start_as_current_span("other"):
                self.steps(depth - 1)

    def call(self, depth):
        """A function of ours."""
        if depth:
            co.monitor_performance("function")(self.steps)(depth - 1)

    def fail(self, depth):
        """A function of ours that raises."""

        def failing():
            self.steps(depth - 1)
            raise KeyError

        if depth:
            before = context.get_current()
            with contextlib.suppress(KeyError):
                co.monitor_performance("failing")(failing)()
            context.attach(before)

    def block(self, depth):
        """A block of ours."""
        if depth:
            with co.performance_context("block"):
                self.steps(depth - 1)

    def generate(self, depth):
        """A generator of ours that suspends halfway, and of which spans may be left open."""

        def generator():
            self.steps(depth - 1)
            yield
            self.steps(depth - 1)

        if depth:
            for _ in co.monitor_performance("generator")(generator)():
                self.steps(depth - 1)

    def elsewhere(self, depth):
        """The same in the other thread, if that is idle."""
        for pool in self.pools:
            if pool not in self.busy:
                pool.submit(self.root, pool).result()

    KINDS = (start, start, end, end, nest, call, fail, block, generate, elsewhere)


class LendingProtocol(Protocol):
    """The same, where work is handed to the other thread, or kept and run anywhere, at any time."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.kept = []

    def lend(self, depth):
        """Let the other thread do some steps for what is in force here, if it is idle."""
        if depth:
            self.in_idle_pool(co.propagate_context(self.steps), depth - 1)

    def keep(self, depth):
        """Keep some work for later."""
        if depth:
            self.kept.append(co.propagate_context(self.steps))

    def run_kept(self, depth):
        """Run what was kept, here or in the other thread: for whom it was kept may have ended."""
        if self.kept:
            work = self.kept.pop(self.chance.randrange(len(self.kept)))
            self.in_idle_pool(work, 0) if self.chance.random() < 0.5 else work(0)

    def in_idle_pool(self, work, depth):
        """Let a pool do it, if one is idle."""
        for pool in self.pools:
            if pool not in self.busy:
                self.busy.add(pool)
                pool.submit(work, depth).result()
                self.busy.remove(pool)
                return

    KINDS = (*Protocol.KINDS, lend, lend, keep, run_kept)


class TaskProtocol(Protocol):
    """The same in tasks that are followed: gathered, cancelled, switched anywhere, spans shared by all."""

    def run(self):
        """Run all of it in one call; whoever starts a task waits for it."""
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(co.monitor_performance("root")(self.steps)(3))

    async def steps(self, depth):
        """Some steps, each with a burn before and after."""
        before, started = context.get_current(), []
        try:
            for _ in range(self.chance.randrange(6)):
                self.burn()
                if self.chance.random() < 0.3:
                    await asyncio.sleep(0)
                kind = self.chance.choice(self.KINDS)
                made = kind(self, depth)
                if isinstance(made, asyncio.Task):
                    started.append(made)
                elif made is not None:
                    await made
                self.burn()
        finally:
            context.attach(before)
            await asyncio.gather(*started, return_exceptions=True)

    def task(self, depth):
        """A task, which is let run, cancelled before it begins, or cancelled meanwhile."""
        if not depth:
            return None
        task = asyncio.get_running_loop().create_task(self.steps(depth - 1))
        if self.chance.random() < 0.2:
            asyncio.get_running_loop().call_soon(task.cancel)
        elif self.chance.random() < 0.1:
            task.cancel()
        return task

    async def gather(self, depth):
        """Two tasks, waited for at once."""
        if depth:
            await asyncio.gather(self.steps(depth - 1), self.steps(depth - 1), return_exceptions=True)

    async def nest(self, depth):
        """A span as it is mostly used."""
        if depth:
            with self.tracer.start_as_current_span("other"):
                await self.steps(depth - 1)

    async def call(self, depth):
        """A coroutine of ours."""
        if depth:
            await co.monitor_performance("function")(self.steps)(depth - 1)

    async def block(self, depth):
        """A block of ours."""
        if depth:
            with co.performance_context("block"):
                await self.steps(depth - 1)

    async def generate(self, depth):
        """An async generator of ours, of which spans may be left open, read to its end or closed."""

        async def generator():
            await self.steps(depth - 1)
            yield
            await self.steps(depth - 1)

        if depth:
            async with contextlib.aclosing(co.monitor_performance("generator")(generator)()) as read:
                async for _ in read:
                    await self.steps(depth - 1)
                    if self.chance.random() < 0.3:
                        break

    ALONE = (Protocol.start, Protocol.start, Protocol.end, Protocol.end)
    KINDS = (*ALONE, task, gather, nest, call, block, generate)


@pytest.mark.parametrize("kind", [Protocol, LendingProtocol, TaskProtocol])
def test_random_protocols_add_up(telemetry, other, cpu, scale, kind):
    """No self time is negative or above its CPU time; all of them, and the metrics, are what was burnt."""
    burnt, before = 0, counted_cpu_time(telemetry)
    for seed in range(scale(PROTOCOLS)):
        protocol = kind(seed, other, cpu)
        protocol.run()
        measured = [span.attributes for span in telemetry.spans() if CPU in span.attributes]
        for attributes in measured:
            own = attributes.get(SELF, attributes[CPU])
            assert -1e-9 <= own <= attributes[CPU] + 1e-9, seed
        told = sum(attributes.get(SELF, attributes[CPU]) for attributes in measured)
        if kind is LendingProtocol:  # what is run for a call that has ended is in metrics only
            assert told <= protocol.burnt / 1e3 + 1e-9, seed
        else:
            assert told == pytest.approx(protocol.burnt / 1e3), seed
        telemetry.exporter.clear()
        burnt += protocol.burnt
    assert counted_cpu_time(telemetry) - before == pytest.approx(burnt / 1e3)


# --- what is left alone ---


def test_spans_are_as_without_the_processor(telemetry, other):
    """The end time given, and whatever else `end` takes, reach the span; it has its own `end` again."""
    span = other.start_span("ended")
    span.end(end_time=7 * 10**18)
    assert telemetry.span("ended").end_time == 7 * 10**18
    assert "end" not in vars(span)
    span.end()  # as often as it likes: the SDK complains, and nothing else happens
    assert len(telemetry.spans("ended")) == 1


def test_an_ended_span_is_no_garbage_cycle(telemetry, other):
    """It is freed as soon as nobody holds it."""
    gc.disable()
    try:
        span = other.start_span("freed")
        span.end()
        gone = weakref.ref(span)
        del span
        assert gone() is None
    finally:
        gc.enable()


def test_an_end_that_somebody_kept_ends_the_span_once(telemetry, other, cpu):
    """Whoever calls it again finds the span ended, with its figures."""
    span = other.start_span("kept")
    end = span.end
    cpu.burn(1)
    end()
    end()
    assert len(telemetry.spans("kept")) == 1
    assert figures(telemetry, "kept") == (1, 1)


def test_a_span_that_ended_in_another_thread_is_let_go(other):
    """Its own thread, which does not know of its end yet, does not hold it."""
    gc.disable()
    try:
        span = other.start_span("freed")
        gone = weakref.ref(span)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(span.end).result()
        del span
        assert gone() is None
    finally:
        gc.enable()
    thread_clock.thread.clock.charge_to(None)


def test_a_second_processor_does_nothing(telemetry, other, cpu):
    """Measured once: the figures are those of one processor."""
    telemetry.tracer_provider.add_span_processor(ResourceSpanProcessor())
    with other.start_as_current_span("once"):
        cpu.burn(1)
        with other.start_as_current_span("inside"):
            cpu.burn(2)
    assert figures(telemetry, "once") == (3, 1)
    assert is_nobody_charged()


def test_after_shutdown_spans_are_not_measured(telemetry, cpu):
    """A processor that was shut down leaves spans alone."""
    processor = ResourceSpanProcessor()
    telemetry.tracer_provider.add_span_processor(processor)
    processor.shutdown()
    with telemetry.tracer.start_as_current_span("after"):
        cpu.burn(1)
    assert figures(telemetry, "after") is None


def test_what_another_library_put_in_the_place_of_end_is_called(telemetry, other):
    """Whoever shadows `end` before or after is called, once, and is there afterwards."""

    class Before(ResourceSpanProcessor):
        def on_start(self, span, parent_context=None):
            end = span.end
            span.end = lambda *arguments: (seen.append("before"), end(*arguments))

    seen = []
    provider = TracerProvider()
    for processor in (Before(), ResourceSpanProcessor(), SimpleSpanProcessor(telemetry.exporter)):
        provider.add_span_processor(processor)
    tracer = provider.get_tracer("library")
    tracer.start_span("first").end()
    second = tracer.start_span("second")
    ours = second.end
    second.end = lambda: (seen.append("after"), ours())
    second.end()
    assert seen == ["before", "after", "before"]
    assert CPU in telemetry.span("first").attributes
    assert CPU in telemetry.span("second").attributes


class RecordOnly(Sampler):
    """Lets spans be recorded and not sent."""

    def should_sample(self, *arguments, **named):
        return SamplingResult(Decision.RECORD_ONLY)

    def get_description(self):
        return "record only"


def test_a_span_that_is_not_sampled_is_charged_and_has_no_attributes(telemetry, cpu):
    """What it uses is not told as its caller's."""
    provider = TracerProvider(RecordOnly())
    provider.add_span_processor(ResourceSpanProcessor())

    @co.monitor_performance("call")
    def call():
        with provider.get_tracer("library").start_as_current_span("unsampled") as span:
            cpu.burn(1)
        assert not span.attributes
        cpu.burn(2)

    call()
    assert figures(telemetry, "call") == (3, 2)


def test_the_agent_in_force_is_named_where_a_span_names_none(telemetry, other):
    """A span inside an agent carries its name, unless it has one of its own."""
    with co.agent("planner"):
        other.start_span("unnamed").end()
        other.start_span("named", attributes={AGENT: "theirs"}).end()
    other.start_span("outside").end()
    assert telemetry.span("unnamed").attributes[AGENT] == "planner"
    assert telemetry.span("named").attributes[AGENT] == "theirs"
    assert AGENT not in telemetry.span("outside").attributes


def agents_counted(telemetry, name):
    """Under which agents the calls of a function were counted."""
    return {
        dict(key).get(AGENT)
        for key in telemetry.points("codoperf.function.duration")
        if dict(key).get("code.function.name", "").endswith(name)
    }


def test_the_agent_that_a_span_of_another_library_names_is_in_force_inside(telemetry, other):
    """For calls, their metrics and other spans, until it ends; an agent inside takes its place."""

    @co.monitor_performance("work")
    def named_work():
        return co.current_agent()

    with other.start_as_current_span("theirs", attributes={AGENT: "theirs"}) as span:
        assert named_work() == "theirs"
        with other.start_as_current_span("inside"), co.performance_context("block"):
            assert co.current_agent() == "theirs"
            with co.agent("ours"), other.start_as_current_span("inside ours"):
                assert named_work() == "ours"
            with other.start_as_current_span("inner", attributes={AGENT: "inner"}):
                assert named_work() == "inner"
    assert co.current_agent() is None
    assert named_work() is None
    with trace.use_span(span):  # what is started in its Context later is still for that agent
        assert co.current_agent() == "theirs"
    assert [span.attributes.get(AGENT) for span in telemetry.spans("work")] == [
        "theirs",
        "ours",
        "inner",
        None,
    ]
    assert telemetry.span("inside").attributes[AGENT] == "theirs"
    assert telemetry.span("inside ours").attributes[AGENT] == "ours"
    assert telemetry.span("block").attributes[AGENT] == "theirs"
    assert agents_counted(telemetry, "named_work") == {"theirs", "ours", "inner", None}


def test_an_agent_is_read_when_it_is_looked_up(telemetry, other):
    """Some frameworks name it after the start: what begins then, and spans that end then, have it."""

    @co.monitor_performance("late")
    def late():
        return co.current_agent()

    with other.start_as_current_span("theirs") as span, co.performance_context("block"):
        with other.start_as_current_span("inside"):
            assert late() is None
            span.set_attribute(AGENT, "theirs")
            assert late() == "theirs"
        carried = co.propagation_env()
    assert telemetry.span("inside").attributes[AGENT] == "theirs"
    assert carried["CODOPERF_OTEL_AGENT"] == "theirs"


def test_what_is_no_name_is_no_agent(telemetry, other):
    """An attribute of that name may hold anything."""
    for value in (7, "", ["a"], True):
        with other.start_as_current_span("theirs", attributes={AGENT: value}):
            assert co.current_agent() is None


def test_a_span_in_a_proxy_names_its_agent(telemetry, other):
    """Some instrumentations make a proxy of the span current; whatever else is current harms nobody."""

    class Proxy(trace.NonRecordingSpan):
        def __init__(self, span):
            super().__init__(span.get_span_context())
            self.wrapped = span

        def __getattr__(self, name):
            return getattr(self.wrapped, name)

    class Hostile(trace.NonRecordingSpan):
        def __getattr__(self, name):
            raise RuntimeError(name)

    with trace.use_span(Proxy(other.start_span("theirs", attributes={AGENT: "theirs"})), end_on_exit=False):
        assert co.current_agent() == "theirs"
    with trace.use_span(Hostile(trace.INVALID_SPAN_CONTEXT)):
        assert co.current_agent() is None


def test_agents_that_others_name_are_bounded(telemetry, other, monkeypatch):
    """Without a free attribute set, what they run is counted in the overflow set."""
    from codoperf_otel._telemetry import attribute_sets

    @co.monitor_performance("bounded")
    def bounded():
        pass

    monkeypatch.setattr(attribute_sets, "_free", 3)
    for number in range(10):
        with other.start_as_current_span("theirs", attributes={AGENT: f"agent {number}"}):
            bounded()
    counted = telemetry.values("codoperf.function.duration")
    assert sum(counted.values()) == 10
    assert counted[frozenset({("otel.metric.overflow", True)})] == 7
    assert len(counted) == 4


def test_memory_is_put_on_when_asked_for(telemetry, other):
    """`memory=True` adds what the process had; without it there is nothing of the kind."""
    provider = TracerProvider()
    provider.add_span_processor(ResourceSpanProcessor(memory=True))
    span = provider.get_tracer("library").start_span("asked")
    span.end()
    other.start_span("not asked").end()
    assert {"codoperf.process.memory.start", "codoperf.process.cpu.time"} <= set(span.attributes)
    assert not [name for name in telemetry.span("not asked").attributes if "process" in name]


def test_a_failure_of_ours_reaches_nobody(telemetry, other, monkeypatch, caplog):
    """A span of another library starts and ends whatever fails here; it is logged once."""
    from codoperf_otel._calls import foreign_spans

    def fail(*_):
        raise RuntimeError("broken for the test")

    monkeypatch.setattr(foreign_spans.ForeignSpan, "start", fail)
    monkeypatch.setattr(foreign_spans.ForeignSpan, "end", fail)
    for _ in range(2):
        other.start_span("span").end()
    assert len(telemetry.spans("span")) == 2
    assert len([record for record in caplog.records if record.name == "codoperf_otel.calls"]) == 2


# --- exceptions, interrupts, forks ---


def test_a_span_that_leaves_under_a_call_that_fails_is_not_charged_again(telemetry, other, cpu):
    """The failing call puts back who is charged now, not who was when it began."""

    @co.monitor_performance("fails")
    def fails(span):
        cpu.burn(2)
        span.end()
        raise ZeroDivisionError

    @co.monitor_performance("around")
    def around():
        with trace.use_span(other.start_span("ended inside"), end_on_exit=False) as span:
            cpu.burn(1)
            with pytest.raises(ZeroDivisionError):
                fails(span)
            cpu.burn(4)

    with trace.use_span(other.start_span("outside any call"), end_on_exit=False) as span:
        with pytest.raises(ZeroDivisionError):
            fails(span)
        assert is_nobody_charged()
    telemetry.exporter.clear()
    around()
    assert figures(telemetry, "ended inside") is None
    assert figures(telemetry, "fails") == (2, 2)
    assert figures(telemetry, "around") == (7, 5)
    assert is_nobody_charged()


def test_what_is_lent_to_a_thread_unwinds_its_spans(telemetry, other, cpu):
    """A span that work in a pool leaves open is taken off the pool's thread."""

    def work():
        left.append(other.start_span("left"))
        cpu.burn(3)

    left = []
    with ThreadPoolExecutor(1) as pool:
        with co.performance_context("lender"):
            pool.submit(co.propagate_context(work)).result()
        assert pool.submit(is_nobody_charged).result()
    left[0].end()
    assert figures(telemetry, "left") is None
    assert telemetry.span("lender").attributes.get(SELF, 0.003) == 0.003


@pytest.mark.parametrize("is_lent", [False, True])
def test_a_block_that_is_left_in_another_context_has_no_figure(telemetry, cpu, is_lent):
    """A web framework enters and leaves one in different turns of a pool's thread, with others in between."""
    block, before = co.performance_context("block"), counted_cpu_time(telemetry)
    lent = co.propagate_context if is_lent else lambda work: work

    def turn(work):
        """A piece of work that another piece does not know."""
        contextvars.copy_context().run(lent(work))

    def enter():
        block.__enter__()
        cpu.burn(1)

    def leave():
        block.__exit__(None, None, None)

    with co.performance_context("around") if not is_lent else contextlib.nullcontext():
        turn(enter)
        turn(lambda: cpu.burn(2))
        turn(leave)
        assert (thread_clock.thread.clock.current is None) == is_lent
    assert figures(telemetry, "block") is None
    assert is_lent or figures(telemetry, "around") == (3, 3)
    assert counted_cpu_time(telemetry) - before == pytest.approx(0.001 if is_lent else 0.003)


def test_what_a_thread_runs_for_a_span_is_the_spans(telemetry, other, cpu):
    """As what a task runs for it: it is in its CPU time and its self CPU time, and in no other's."""

    def work(ms):
        cpu.burn(ms)
        with other.start_as_current_span("inner"):
            cpu.burn(10)

    before = counted_cpu_time(telemetry)
    with ThreadPoolExecutor(1) as pool, co.performance_context("operation"):
        cpu.burn(1)
        with other.start_as_current_span("tool"):
            cpu.burn(2)
            pool.submit(co.propagate_context(work), 4).result()
    assert figures(telemetry, "inner") == (10, 10)
    assert figures(telemetry, "tool") == (16, 6)
    assert figures(telemetry, "operation") == (3, 1)
    assert counted_cpu_time(telemetry) - before == pytest.approx(0.017)


def test_what_a_thread_runs_for_a_span_outside_any_call(telemetry, other, cpu):
    """A span needs no operation around it to have what was handed over in it."""
    with ThreadPoolExecutor(1) as pool, other.start_as_current_span("request"):
        pool.submit(co.propagate_context(cpu.burn), 4).result()
        handed_on = co.propagate_context(cpu.burn)
    handed_on(8)
    assert figures(telemetry, "request") == (4, 4)
    assert is_nobody_charged()


@pytest.mark.parametrize("in_pool", [True, False], ids=["in a pool", "in its own thread"])
def test_a_span_that_has_ended_hands_on_what_a_thread_runs_for_it(telemetry, other, cpu, in_pool):
    """The operation around it has that, once, whether it runs in the operation's own thread or in another."""
    before = counted_cpu_time(telemetry)
    with ThreadPoolExecutor(1) as pool, co.performance_context("operation"):
        with other.start_as_current_span("ended"):
            work = co.propagate_context(cpu.burn)
        pool.submit(work, 5).result() if in_pool else work(5)
    assert figures(telemetry, "ended") == (0, 0)
    assert figures(telemetry, "operation") == (5, 5)
    assert counted_cpu_time(telemetry) - before == pytest.approx(0.005)


def test_a_span_that_ends_meanwhile_hands_on_what_a_thread_runs_for_it(telemetry, other, cpu):
    """Also where the thread works for the operation around the span, which has it in its CPU time already."""

    def work():
        cpu.burn(1)
        begun.set()
        assert ended.wait(60)
        cpu.burn(2)

    begun, ended = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as pool, co.performance_context("operation"):
        with other.start_as_current_span("span"):
            in_span = co.propagate_context(work)
            with trace.use_span(trace.INVALID_SPAN):
                done = pool.submit(co.propagate_context(lambda: (cpu.burn(4), in_span())))
            assert begun.wait(60)
        ended.set()
        done.result()
    assert figures(telemetry, "operation") == (7, 7)


def test_a_span_left_open_in_a_thread_hands_on_what_is_run_for_it_later(telemetry, other, cpu):
    """To the call that the thread worked for, although that has nothing to do with the thread any more."""

    def work():
        context.attach(trace.set_span_in_context(other.start_span("left")))
        return co.propagate_context(cpu.burn)

    before = counted_cpu_time(telemetry)
    with ThreadPoolExecutor(1) as pool, co.performance_context("operation"):
        late = pool.submit(co.propagate_context(work)).result()
        pool.submit(late, 5).result()
    assert figures(telemetry, "operation") == (5, 5)
    assert counted_cpu_time(telemetry) - before == pytest.approx(0.005)


def test_a_span_in_a_lent_thread_is_counted_for_the_lender(telemetry, other, cpu):
    """Its self CPU time is in the metrics of the call that the thread works for."""

    def work():
        cpu.burn(1)
        with other.start_as_current_span("in worker"):
            cpu.burn(5)

    before = counted_cpu_time(telemetry)
    with ThreadPoolExecutor(1) as pool, co.performance_context("lender"):
        pool.submit(co.propagate_context(work)).result()
    assert figures(telemetry, "in worker") == (5, 5)
    assert figures(telemetry, "lender") == (6, 1)
    assert counted_cpu_time(telemetry) - before == pytest.approx(0.006)


class _Stop(BaseException):
    """What a signal handler raises."""


def test_an_interrupt_anywhere_leaves_nobody_charged(telemetry, other):
    """An exception at any of these lines, at start or end, leaves nothing when the call has ended."""

    @co.monitor_performance("call")
    def call():
        with other.start_as_current_span("span"):
            pass

    def interrupt(frame, event, argument):
        if event == "line" and frame.f_code.co_filename.endswith(("foreign_spans.py", "span_processor.py")):
            seen.append(None)
            if len(seen) == at:
                sys.settrace(None)
                raise _Stop
        return interrupt

    at = 0
    while True:
        at, seen = at + 1, []
        sys.settrace(interrupt)
        try:
            call()
        except _Stop:
            assert is_nobody_charged(), at
            continue
        finally:
            sys.settrace(None)
        break
    assert at > 40


def test_a_forked_child_gives_no_figure_to_a_span_of_its_parent(telemetry, other):
    """Its CPU clock begins anew. What starts in the child has a figure; the parent's span keeps its own."""

    @co.monitor_performance("forks")
    def forks():
        return os.fork()

    with other.start_as_current_span("parent's") as span:
        pid = forks()
        if pid == 0:
            code = 1
            try:
                with other.start_as_current_span("child's") as inner:
                    pass
                span.end()
                is_right = CPU not in span.attributes and CPU in inner.attributes and is_nobody_charged()
                code = 0 if is_right else 1
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert CPU in telemetry.span("parent's").attributes


def test_a_call_without_a_span_owns_what_is_started_under_another_librarys(telemetry, other):
    """A child process that such a call starts is its own, also while a client's span is open in it."""
    from codoperf_otel._children.starts import call_in_force

    @co.monitor_performance("no span", min_span_duration=100)
    def call():
        with other.start_as_current_span("client"):
            return call_in_force().site.span_name

    with co.performance_context("around"):
        assert call() == "no span"


# --- set-up ---

CONFIGURED = """
import subprocess
import sys
import codoperf_otel as co
from opentelemetry import trace
co.configure(file=sys.argv[1], **eval(sys.argv[2]))
with co.agent("planner"), trace.get_tracer("library").start_as_current_span("theirs"):
    pass
co.shutdown()
"""


@pytest.mark.parametrize(("arguments", "is_on"), [({}, True), ({"other_spans": False}, False)])
def test_configure_puts_them_on_unless_it_is_told_not_to(tmp_path, arguments, is_on):
    """Under `configure` the spans of other libraries have CPU time and agent."""
    command = [sys.executable, "-P", "-c", CONFIGURED, str(tmp_path), repr(arguments)]
    subprocess.run(command, check=True, timeout=60)
    lines = (tmp_path / "traces.jsonl").read_text().splitlines()
    spans = [
        span
        for line in lines
        for resource in json.loads(line)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]
    (theirs,) = (span for span in spans if span["name"] == "theirs")
    found = {attribute["key"] for attribute in theirs.get("attributes", ())}
    assert found == ({CPU, SELF, AGENT} if is_on else set())


def test_a_greenlet_has_its_own(telemetry, other):
    """A span whose greenlet is left meanwhile has none of what the other greenlets use."""
    greenlet = pytest.importorskip("greenlet")

    def burn(seconds):
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass

    def work():
        with other.start_as_current_span("left meanwhile"):
            main.switch()

    main = greenlet.getcurrent()
    worker = greenlet.greenlet(work)
    worker.switch()
    burn(0.03)
    worker.switch()
    found = figures(telemetry, "left meanwhile")
    assert found is None or found[0] < 15


def test_a_flush_goes_on_to_the_processors_after_it():
    """The SDK flushes one after the other as long as each says that it could."""
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(ResourceSpanProcessor())
    provider.add_span_processor(BatchSpanProcessor(exporter))
    provider.get_tracer("library").start_span("query").end()
    assert provider.force_flush()
    assert [span.name for span in exporter.get_finished_spans()] == ["query"]
    provider.shutdown()
