"""Calls that may be too short for a span: they have one where something has it for its parent."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from opentelemetry import propagate, trace
from opentelemetry.sdk.trace import SpanProcessor

from codoperf_otel import propagate_context, propagation_env
from codoperf_otel._calls.deferred_spans import _MOST_ABOVE, DeferredSpan
from codoperf_otel._calls.interrupted import end_open_spans
from codoperf_otel.performance_monitor import current_operation, get_performance_stats, monitor_performance

ALWAYS_SHORT, NEVER_SHORT = 60, 1e-9


def short(func, **options):
    """Monitor a function whose calls are all below the limit."""
    return monitor_performance(func.__name__, min_span_duration=ALWAYS_SHORT, **options)(func)


@short
def inner(work):
    return work()


@short
def outer(work):
    return inner(work)


@monitor_performance("long", min_span_duration=NEVER_SHORT)
def long(work=lambda: None):
    return work()


@pytest.fixture
def tree(telemetry):
    """The names of the spans, each with its parent's."""

    def names():
        spans = telemetry.spans()
        assert len({span.context.trace_id for span in spans}) <= 1
        return {span.name: telemetry.parent(span) for span in spans}

    return names


@pytest.fixture
def library(telemetry):
    """The tracer of another library."""
    return telemetry.tracer_provider.get_tracer("library")


def test_short_calls_without_children_have_no_span(tree):
    """Nobody needs it, and each is counted."""
    before = get_performance_stats("inner").get("total_calls", 0)
    outer(lambda: None)
    assert tree() == {}
    assert get_performance_stats("inner")["total_calls"] == before + 1


def test_what_has_a_span_has_its_parents(tree):
    """Short calls around a long one have spans, those beside it have none."""

    def work():
        outer(lambda: None)
        long()

    outer(work)
    assert tree() == {"outer": None, "inner": "outer", "long": "inner"}


def test_spans_between_short_calls(tree, library):
    """Other spans may stand between them."""

    @library.start_as_current_span("query")
    def query():
        inner_most(long)

    inner_most = short(lambda work: work())
    outer(query)
    found = tree()
    assert (found["query"], found["<lambda>"], found["long"]) == ("inner", "query", "<lambda>")


@pytest.mark.parametrize(
    "ask",
    [
        lambda: propagate.inject({}),
        propagation_env,
        lambda: trace.get_current_span().get_span_context(),
        lambda: trace.get_current_span().record_exception(ValueError("seen")),
        lambda: trace.get_current_span().start_time,
    ],
    ids=["headers", "environment", "ids", "exception", "SDK's attribute"],
)
def test_whoever_asks_for_the_span_makes_it(tree, ask):
    """Whoever was given its ids may be a child elsewhere."""
    outer(ask)
    assert tree() == {"outer": None, "inner": "outer"}


def test_true_times_and_cpu_time(telemetry, library):
    """A span that is made late begins where its call did, and says what it took."""
    outer(lambda: library.start_span("query").end())
    spans = [telemetry.span(name) for name in ("outer", "inner", "query")]
    assert [span.start_time for span in spans] == sorted(span.start_time for span in spans)
    assert [span.end_time for span in spans] == sorted((span.end_time for span in spans), reverse=True)
    assert all("codoperf.cpu.time" in span.attributes for span in spans[:2])


def test_what_is_written_waits(telemetry):
    """What is written on the span is there if the call has one, in order and with its time."""

    def write():
        span = trace.get_current_span()
        assert span.is_recording()
        span.set_attribute("a", 1)
        span.add_event("seen")
        span.set_attributes({"a": 2, "b": 3})
        current_operation().set("c", 4)

    outer(write)
    assert telemetry.spans() == []
    long(write)
    span = telemetry.span("long")
    assert {name: span.attributes[name] for name in "abc"} == {"a": 2, "b": 3, "c": 4}
    assert span.start_time <= span.events[0].timestamp <= span.end_time


def test_much_that_is_written_makes_it(tree):
    """What waits is bounded."""

    def write():
        for number in range(1000):
            trace.get_current_span().set_attribute("a", number)

    inner(write)
    assert tree() == {"inner": None}


def test_a_task_that_outlives_its_call_finds_its_parent(telemetry, tree, library):
    """A call that has ended without a span has one when a span comes that was started by it."""
    context = outer(contextvars.copy_context)
    assert tree() == {}
    context.run(lambda: library.start_span("later").end())
    assert tree() == {"outer": None, "inner": "outer", "later": "inner"}
    assert telemetry.span("inner").end_time < telemetry.span("later").start_time
    assert telemetry.span("inner").attributes["codoperf.cpu.time"] >= 0


def test_a_span_is_ended_once(tree, library):
    """A call whose span was made after its end has no second one."""
    context = inner(contextvars.copy_context)
    for name in ("first", "second"):
        context.run(lambda name=name: library.start_span(name).end())
    context.run(lambda: trace.get_current_span().set_attribute("too", "late"))
    assert tree() == {"inner": None, "first": "inner", "second": "inner"}


def test_coroutines_and_generators(tree):
    """Calls of all kinds, and tasks, keep their tree."""

    @short
    async def coroutine():
        await asyncio.gather(asyncio.to_thread(long), step())

    @short
    async def step():
        await asyncio.sleep(0)
        return list(items())

    @short
    def items():
        yield long()

    asyncio.run(coroutine())
    found = tree()
    assert found["coroutine"] is None
    assert found.keys() == {"coroutine", "step", "items", "long"}
    assert (found["step"], found["items"]) == ("coroutine", "step")


def test_threads_that_ask_at_once_find_one_span(telemetry, library):
    """Of any number of threads one makes the span."""
    together = threading.Barrier(8)

    def work():
        together.wait()
        library.start_span("query").end()

    def start():
        with ThreadPoolExecutor(8) as pool:
            for _ in range(8):
                pool.submit(propagate_context(work))

    for _ in range(20):
        inner(start)
    parents = {span.context.span_id for span in telemetry.spans("inner")}
    assert len(parents) == len(telemetry.spans("inner")) == 20
    assert {span.parent.span_id for span in telemetry.spans("query")} == parents


def test_a_processor_that_asks_for_the_current_span(telemetry, library, tree):
    """While telemetry's own code runs nothing is made, so nothing goes round in a circle."""

    class Asking(SpanProcessor):
        def on_start(self, span, parent_context=None):
            trace.get_current_span().get_span_context()

    telemetry.tracer_provider.add_span_processor(Asking())
    outer(lambda: library.start_span("query").end())
    outer(long)
    assert {span.name for span in telemetry.spans()} == {"outer", "inner", "query", "long"}
    assert len({span.context.trace_id for span in telemetry.spans()}) == 2


def test_deep_nesting(telemetry, library):
    """Any depth of short calls is one tree."""

    @short
    def deeper(depth):
        if depth:
            deeper(depth - 1)
        else:
            library.start_span("query").end()

    depth = 3 * _MOST_ABOVE
    deeper(depth)
    assert len(telemetry.spans("deeper")) == depth + 1
    assert len({span.context.trace_id for span in telemetry.spans()}) == 1
    assert sum(span.parent is None for span in telemetry.spans()) == 1


def test_calls_that_outlive_each_other_are_no_growing_chain(telemetry, library):
    """A timer that each of its calls sets anew would keep all calls before."""

    context = contextvars.copy_context()
    for _ in range(10 * _MOST_ABOVE):
        context = context.run(inner, contextvars.copy_context)
    gc.collect()
    kept = sum(type(found) is DeferredSpan for found in gc.get_objects())
    assert 0 < kept <= _MOST_ABOVE + 2
    context.run(lambda: library.start_span("query").end())
    assert 0 < len(telemetry.spans("inner")) <= _MOST_ABOVE + 2


def test_a_rate_holds_for_long_calls(telemetry):
    """With both options the rate counts the calls that would have a span, and no short one."""

    @monitor_performance("busy", min_span_duration=ALWAYS_SHORT, max_spans_per_second=1e-9)
    def idle():
        pass

    @monitor_performance("busy", min_span_duration=NEVER_SHORT, max_spans_per_second=2e-9)
    def busy():
        idle()

    for _ in range(10):
        busy()
    assert len(telemetry.spans("busy")) == 1


def test_the_end_of_the_process(telemetry):
    """Of the calls that it interrupts, those that are long by then have a span."""
    long(lambda: outer(end_open_spans))
    assert [(span.name, span.attributes["codoperf.outcome"]) for span in telemetry.spans()] == [
        ("long", "interrupted")
    ]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
@pytest.mark.filterwarnings("ignore:This process")
def test_a_forked_child_finds_its_parent(telemetry):
    """The parent's own span is what the spans of a child hang on."""
    reading, writing = os.pipe()

    def fork():
        child = os.fork()
        if not child:
            os.write(writing, b"%x" % trace.get_current_span().get_span_context().span_id)
            os._exit(0)
        os.waitpid(child, 0)

    outer(fork)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert int(pipe.read(), 16) == telemetry.span("inner").context.span_id
    assert telemetry.parent(telemetry.span("inner")) == "outer"
