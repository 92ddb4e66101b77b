"""Lean spans against the SDK's own: whatever is done to both, the same comes out."""

from __future__ import annotations

import ast
import inspect
import json
import os
import random
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
    set_span_in_context,
)

import codoperf_otel
from codoperf_otel.sdk import lean
from codoperf_otel.sdk.lean import lean_tracer

STATE = TraceState([("vendor", "state")])
NOW = 1_700_000_000_000_000_000


class Counted(IdGenerator):
    """Ids that count up, so that two runs have the same."""

    def __init__(self, is_random: bool = True) -> None:
        self.last = 0
        self.is_random = is_random

    def generate_span_id(self) -> int:
        """The next."""
        self.last += 1
        return self.last

    generate_trace_id = generate_span_id

    def is_trace_id_random(self) -> bool:
        """As said."""
        return self.is_random


class Asked(Sampler):
    """Notes what it is asked, and answers as another sampler."""

    def __init__(self, inner: Sampler) -> None:
        self.inner = inner
        self.calls: list[Any] = []

    def should_sample(self, parent_context, trace_id, name, kind=None, attributes=None, links=None, *rest):
        """Note and pass on."""
        linked = None if links is None else [link and link.context for link in links]
        self.calls.append((around(parent_context), trace_id, name, kind, repr(attributes), linked, rest))
        return self.inner.should_sample(parent_context, trace_id, name, kind, attributes, links)

    def get_description(self) -> str:
        """Its name."""
        return "asked"


class Deciding(Sampler):
    """One decision, with an attribute and a trace state of its own."""

    def __init__(self, decision: Decision) -> None:
        self.decision = decision

    def should_sample(self, parent_context, trace_id, name, kind=None, attributes=None, links=None, *rest):
        """The decision."""
        return SamplingResult(self.decision, {**(attributes or {}), "sampler": ("a", "b")}, STATE)

    def get_description(self) -> str:
        """Its name."""
        return "deciding"


class Heard(SpanProcessor):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.ended: list[ReadableSpan] = []

    def on_start(self, span, parent_context=None) -> None:
        """Note all that a processor may read, and write an attribute."""
        span.set_attribute("processor", 1)
        assert isinstance(span, sdk.Span)
        self.calls.append(("start", around(parent_context), seen(span)))

    def on_end(self, span) -> None:
        """Note it."""
        assert type(span) is ReadableSpan
        self.calls.append(("end", seen(span)))
        self.ended.append(span)


def around(context: Context | None) -> Any:
    """What can be compared of a Context."""
    return context is None or trace.get_current_span(context).get_span_context()


def seen(span: ReadableSpan) -> list[Any]:
    """All that a span shows."""
    names = (
        "name context parent kind start_time end_time instrumentation_scope "
        "dropped_attributes dropped_events dropped_links"
    )
    return [
        *(repr(getattr(span, name)) for name in names.split()),
        span.resource.to_json(),
        repr(list(span.attributes.items())),
        (span.status.status_code, span.status.description),
        [(e.name, e.timestamp, repr(list(e.attributes.items())), e.dropped_attributes) for e in span.events],
        [(x.context, repr(list((x.attributes or {}).items())), x.dropped_attributes) for x in span.links],
    ]


def exported(span: ReadableSpan) -> tuple[str, bytes | str]:
    """The span as JSON and as OTLP, or how these refuse it."""
    try:
        shown = span.to_json()
    except TypeError as error:
        shown = str(error)
    return shown, encode_spans([span]).SerializeToString(deterministic=True)


Scenario = Callable[[Tracer, Tracer], None]


class Run:
    """A scenario's outcome on a tracer of one kind."""

    def __init__(self, is_lean: bool, sampler: Sampler, limits: SpanLimits | None = None) -> None:
        self.heard = Heard()
        self.sampler = sampler
        self.provider = TracerProvider(
            sampler,
            Resource({"service.name": "test"}),
            shutdown_on_exit=False,
            id_generator=Counted(),
            span_limits=limits,
        )
        self.provider.add_span_processor(self.heard)
        self.stock = self.provider.get_tracer("scope", "1.0", "https://schema", {"scope": "attribute"})
        self.tracer = required(lean_tracer(self.stock)) if is_lean else self.stock

    def outcome(self, scenario: Scenario) -> dict[str, Any]:
        """All that came of it."""
        scenario(self.tracer, self.stock)
        return {
            "processor": self.heard.calls,
            "sampler": getattr(self.sampler, "calls", None),
            "exported": [exported(span) for span in self.heard.ended],
        }


def required(tracer: Tracer | None) -> Tracer:
    """The lean tracer, which there has to be."""
    assert tracer is not None
    return tracer


def run_program(text: str) -> str:
    """What a program prints, in an interpreter of its own."""
    command = [sys.executable, "-c", textwrap.dedent(text)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def both(
    scenario: Scenario,
    caplog: pytest.LogCaptureFixture,
    sampler: Callable[[], Sampler] = lambda: DEFAULT_ON,
    limits: SpanLimits | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The outcomes of the lean and of the stock tracer, the log among them."""
    outcomes = []
    for is_lean in (True, False):
        run = Run(is_lean, sampler(), limits)
        caplog.clear()
        outcome = run.outcome(scenario)
        outcome["log"] = [(r.name, r.levelname, r.getMessage()) for r in caplog.records]
        outcomes.append(outcome)
    return outcomes[0], outcomes[1]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same time for both."""
    monkeypatch.setattr("opentelemetry.sdk.trace.time_ns", lambda: NOW)
    monkeypatch.setattr("codoperf_otel.sdk.lean.span.time_ns", lambda: NOW)


class Odd:
    """An object that is no attribute value."""

    def __repr__(self) -> str:
        return "odd"


def remote(flags: int, state: TraceState | None = STATE) -> Context:
    """A Context with a parent from elsewhere."""
    return set_span_in_context(
        NonRecordingSpan(SpanContext(77, 78, True, TraceFlags(flags), state)), Context()
    )


def plain(tracer: Tracer, _: Tracer) -> None:
    span = tracer.start_span(
        "plain", attributes={"text": "a", "int": 1, "float": 1.5, "bool": True}, start_time=1
    )
    span.set_attributes({"later": 1, "text": "again"})
    span.set_attribute("int", 2)
    span.end(5)


def bare(tracer: Tracer, _: Tracer) -> None:
    tracer.start_span("bare").end()


def every_value(tracer: Tracer, _: Tracer) -> None:
    values = {
        "bytes": b"raw", "bad bytes": b"\xff", "none": None, "list": [1, 2], "tuple": ("a", None),
        "odd": Odd(), "mixed": [1, "a"], "nested": {"a": {"b": [1]}}, "": 1, 7: "number", "object": object,
        "big": 2**40,
        "enum": SpanKind.CLIENT, "str": type("Text", (str,), {})("text"), "listed": [b"x", b"y"], "empty": [],
    }  # fmt: skip
    span = tracer.start_span("values", attributes=values)  # type: ignore[arg-type]
    span.set_attributes({"again": 1, **values})  # type: ignore[dict-item]
    for key, value in values.items():
        span.set_attribute(key, value)  # type: ignore[arg-type]
        span.add_event("event", {key: value}, 3)  # type: ignore[dict-item]
    span.end()


def many(tracer: Tracer, _: Tracer) -> None:
    links = [Link(SpanContext(1, n, False), {"a": "long enough", "b": "x", "c": "y"}) for n in range(1, 5)]
    span = tracer.start_span("many", attributes={f"start {n}": "long enough" for n in range(4)}, links=links)
    span.set_attributes({f"set {n}": "x" * n for n in range(6)})
    span.set_attribute("start 3", "moved")
    span.set_attribute("one more", ["long enough"])
    span.set_attributes({f"set {n}": "x" * n for n in range(130)})
    for n in range(130):
        span.add_event("event", {f"e{m}": "long enough" for m in range(n % 5)}, n)
        span.add_link(SpanContext(2, n, False), {"a": "long enough", "b": "x"})
    span.end()


def links(tracer: Tracer, _: Tracer) -> None:
    nothing = SpanContext(0, 0, False)
    given = [
        Link(SpanContext(1, 2, True), {"a": 1}), Link(nothing), Link(nothing, {"a": 1}),
        Link(SpanContext(0, 0, False, None, STATE)), None,
    ]  # fmt: skip
    tracer.start_span("none", links=[]).end()
    span = tracer.start_span("links", links=given)  # type: ignore[arg-type]
    span.add_link(nothing)
    span.add_link(nothing, {"a": [1]})
    span.add_link(SpanContext(3, 4, False))
    span.end()


def statuses(tracer: Tracer, _: Tracer) -> None:
    for steps in (
        [(StatusCode.OK, "ignored"), (StatusCode.ERROR, "late")],
        [(StatusCode.ERROR, "first"), (StatusCode.ERROR, "second"), (StatusCode.UNSET, "no")],
        [(Status(StatusCode.ERROR, "own"), "ignored")],
        [(Status(StatusCode.ERROR, "own"), None), (Status(StatusCode.UNSET), None)],
        [(StatusCode.ERROR, None), (Status(StatusCode.OK), None), (Status(StatusCode.ERROR, "late"), None)],
    ):
        span = tracer.start_span("status")
        for status, description in steps:
            span.set_status(status, description)
        span.end()


def renamed(tracer: Tracer, _: Tracer) -> None:
    with tracer.start_span("before", kind=SpanKind.SERVER) as span:
        span.update_name("after")


def ended_twice(tracer: Tracer, _: Tracer) -> None:
    span = tracer.start_span("ended", start_time=3)
    span.end(4)
    span.end(5)
    span.set_attribute("a", 1)
    span.set_attributes({"a": 1})
    span.add_event("event")
    span.add_link(SpanContext(1, 2, False))
    span.update_name("late")
    span.set_status(StatusCode.ERROR)
    span.record_exception(ValueError("late"))
    assert not span.is_recording()


def started_twice(tracer: Tracer, _: Tracer) -> None:
    span = tracer.start_span("started", start_time=3)
    if span.is_recording():
        span.start(4)  # type: ignore[attr-defined]
    span.end()


def exceptions(tracer: Tracer, _: Tracer) -> None:
    span = tracer.start_span("exceptions")
    try:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise json.JSONDecodeError("outer", "text", 0) from error
    except json.JSONDecodeError as error:
        span.record_exception(error)
        span.record_exception(error, {"more": 1, "exception.message": "mine"}, 9, True)
    span.record_exception(ValueError())
    span.end()


def block(tracer: Tracer, _: Tracer) -> None:
    for error in (ValueError("no"), KeyboardInterrupt("stop")):
        for options in ({}, {"record_exception": False}, {"set_status_on_exception": False}):
            fail(tracer.start_span("block", **options), error)
    fail(tracer.start_span("block"), ValueError("after the end"), is_ended=True)


def fail(scope: AbstractContextManager[Span], error: BaseException, is_ended: bool = False) -> None:
    """Leave a span's block by an error, which comes out of it."""
    try:
        with scope as span:
            span.set_attribute("inside", True)
            if is_ended:
                span.end()
            raise error
    except type(error) as raised:
        assert raised is error  # noqa: PT017


def current(tracer: Tracer, _: Tracer) -> None:
    with tracer.start_as_current_span("outer", Context(), attributes={"a": 1}) as outer:
        assert trace.get_current_span() is outer
        fail(tracer.start_as_current_span("inner"), ValueError("no"))
        with tracer.start_as_current_span("open", end_on_exit=False) as left_open:
            pass
        left_open.end()

    @tracer.start_as_current_span("decorated")
    def function() -> None:
        """Run twice, in two spans."""

    function(), function()


def parents(tracer: Tracer, stock: Tracer) -> None:
    for first, second in ((tracer, stock), (stock, tracer), (tracer, tracer)):
        root = first.start_span("root", Context())
        child = second.start_span("child", set_span_in_context(root, Context()))
        second.start_span("linked", Context(), links=[Link(child.get_span_context())]).end()
        child.end(), root.end()


def remote_parents(tracer: Tracer, _: Tracer) -> None:
    for flags in range(4):
        tracer.start_span("remote", remote(flags)).end()
        tracer.start_span("remote", remote(flags, None), attributes={"a": 1}).end()
    invalid = set_span_in_context(NonRecordingSpan(SpanContext(0, 5, True, TraceFlags(1), STATE)), Context())
    tracer.start_span("invalid", invalid).end()


def kinds(tracer: Tracer, _: Tracer) -> None:
    for kind in SpanKind:
        tracer.start_span("kind", None, kind, {"a": 1}, (), 1).end(0)


SCENARIOS = (
    plain, bare, every_value, many, links, statuses, renamed, ended_twice, started_twice, exceptions, block,
    current, parents, remote_parents, kinds,
)  # fmt: skip
SAMPLERS = {
    "default": lambda: DEFAULT_ON,
    "on": lambda: Asked(ALWAYS_ON),
    "off": lambda: Asked(ALWAYS_OFF),
    "parent": lambda: Asked(ParentBased(TraceIdRatioBased(0.5))),
    "sample": lambda: Asked(Deciding(Decision.RECORD_AND_SAMPLE)),
    "record": lambda: Asked(Deciding(Decision.RECORD_ONLY)),
    "drop": lambda: Asked(Deciding(Decision.DROP)),
}
LIMITS = {
    "none": dict.fromkeys(("max_attributes", "max_events", "max_links"), SpanLimits.UNSET),
    "zero": {"max_span_attributes": 0, "max_events": 0, "max_links": 0, "max_event_attributes": 0},
    "few": {"max_attributes": 3, "max_events": 2, "max_links": 2, "max_link_attributes": 1},
    "short": {"max_attribute_length": 4},
    "short in spans": {"max_span_attribute_length": 2, "max_span_attributes": 5},
}


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_equal(scenario: Scenario, sampler: str, caplog: pytest.LogCaptureFixture) -> None:
    """JSON, OTLP, what samplers and processors are told and what is logged are the stock tracer's."""
    ours, theirs = both(scenario, caplog, SAMPLERS[sampler])
    assert ours == theirs


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize(
    "scenario", [plain, every_value, many, links], ids=lambda scenario: scenario.__name__
)
def test_limits_given_in_code(scenario: Scenario, limits: str, caplog: pytest.LogCaptureFixture) -> None:
    """The limits given to the provider hold, and are counted the same."""
    ours, theirs = both(scenario, caplog, limits=SpanLimits(**LIMITS[limits]))
    assert ours == theirs
    assert ours["processor"]


@pytest.mark.parametrize("scenario", [plain, many, links], ids=lambda scenario: scenario.__name__)
def test_limits_of_the_environment(
    scenario: Scenario, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limits of the standard variables hold."""
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "3")
    monkeypatch.setenv("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "5")
    monkeypatch.setenv("OTEL_SPAN_EVENT_COUNT_LIMIT", "4")
    ours, theirs = both(scenario, caplog)
    assert ours == theirs
    assert all(len(json.loads(shown)["attributes"]) <= 3 for shown, _ in ours["exported"])


KEYS = st.sampled_from(["a", "b", "c", "d", "", 5])
PLAIN = st.one_of(st.text(max_size=6), st.integers(-(2**62), 2**62), st.floats(), st.booleans())
VALUES = st.recursive(
    PLAIN | st.none() | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=2),
    max_leaves=5,
)
ATTRIBUTES = st.dictionaries(KEYS, PLAIN | VALUES, max_size=6)
CODES = st.sampled_from(StatusCode)
CALLS = st.one_of(
    st.tuples(st.just("set_attributes"), st.tuples(ATTRIBUTES)),
    st.tuples(st.just("set_attribute"), st.tuples(KEYS, VALUES)),
    st.tuples(st.just("add_event"), st.tuples(st.just("event"), st.none() | ATTRIBUTES, st.integers(0, 9))),
    st.tuples(st.just("add_link"), st.tuples(st.just(SpanContext(1, 2, True)), st.none() | ATTRIBUTES)),
    st.tuples(st.just("set_status"), st.tuples(CODES, st.none() | st.text(max_size=3))),
    st.tuples(st.just("set_status"), st.tuples(st.builds(Status, CODES, st.none() | st.text(max_size=3)))),
    st.tuples(st.just("update_name"), st.tuples(st.text(max_size=3))),
    st.tuples(st.just("end"), st.tuples(st.integers(1, 9))),
)


@settings(max_examples=200)
@given(
    attributes=st.none() | ATTRIBUTES,
    calls=st.lists(CALLS, max_size=8),
    most=st.none() | st.integers(0, 4),
    length=st.none() | st.integers(0, 3),
)
def test_equal_after_any_calls(attributes, calls, most, length, caplog: pytest.LogCaptureFixture) -> None:
    """Any calls, in any order and under any limits, leave the same span and the same warnings."""

    def scenario(tracer: Tracer, _: Tracer) -> None:
        span = tracer.start_span("span", attributes=attributes)
        for name, arguments in calls:
            getattr(span, name)(*arguments)
        span.end()

    limits = SpanLimits(
        max_attributes=SpanLimits.UNSET if most is None else most,
        max_attribute_length=SpanLimits.UNSET if length is None else length,
        max_events=2,
    )
    ours, theirs = both(scenario, caplog, limits=limits)
    assert ours == theirs


def test_random_flag_as_the_generator_says(caplog: pytest.LogCaptureFixture) -> None:
    """The flag for random trace ids is set where, and only where, the SDK in use sets it."""
    flags = {}
    for is_lean in (True, False):
        run = Run(is_lean, DEFAULT_ON)
        run.outcome(bare)
        run.stock.id_generator.is_random = False
        run.outcome(bare)
        flags[is_lean] = [span.context.trace_flags for span in run.heard.ended]
    assert flags[True] == flags[False]


def test_shadowed_end() -> None:
    """A processor may put an `end` of its own on the span, as those do that write at the end."""

    class Shadows(SpanProcessor):
        def on_start(self, span, parent_context=None) -> None:
            real = span.end

            def end(end_time: int | None = None) -> None:
                del span.end
                span.set_attribute("written", "at the end")
                real(end_time)

            span.end = end

    run = Run(True, DEFAULT_ON)
    run.provider.add_span_processor(Shadows())
    run.tracer.start_span("span").end()
    (span,) = run.heard.ended
    assert span.attributes["written"] == "at the end"


def test_read_while_it_runs() -> None:
    """What code reads on a span that runs is what the stock span shows, and can as little be set."""
    shown = []
    for is_lean in (True, False):
        span = Run(is_lean, DEFAULT_ON).tracer.start_span("span", attributes={"a": 1}, start_time=1)
        span.add_event("event", {"b": 2}, 3)
        with pytest.raises(AttributeError):
            span.name = "other"
        with pytest.raises(TypeError):
            span.attributes["a"] = 2
        shown.append((seen(span), span.to_json(), repr(span).partition("(")[2]))
        span.end()
    assert shown[0] == shown[1]


def test_eight_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of eight threads that write on and end one span each write is kept and one end is heard."""

    def clock() -> int:
        time.sleep(0)  # the others go on
        return NOW

    monkeypatch.setattr("codoperf_otel.sdk.lean.span.time_ns", clock)
    run = Run(True, DEFAULT_ON)
    for _ in range(20):
        run.heard.ended.clear()
        span = run.tracer.start_span("span")
        gate = threading.Barrier(8)

        def work(number: int, span=span, gate=gate) -> None:
            gate.wait()
            for n in range(5):
                span.set_attributes({f"{number} plain {n}": n, f"{number} list {n}": [n]})
            gate.wait()
            span.end()

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (ended,) = run.heard.ended
        assert len(ended.attributes) == 1 + 8 * 5 * 2


def test_warning_handler_that_writes_on_the_span() -> None:
    """A log handler that notes a warning on the span which caused it does not wait for itself."""
    output = run_program("""
        import logging
        from opentelemetry.sdk.trace import TracerProvider
        from codoperf_otel.sdk.lean import lean_tracer

        class Notes(logging.Handler):
            def emit(self, record):
                span.add_event(record.getMessage())

        span = lean_tracer(TracerProvider().get_tracer("test")).start_span("span")
        logging.getLogger("opentelemetry.attributes").addHandler(Notes())
        span.set_attributes({"odd": object()})
        print(len(span.events))
    """)
    assert output == "1\n"


def test_exemplar() -> None:
    """A value recorded in a lean span has an exemplar that names it."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    histogram = provider.get_meter("test").create_histogram("duration")
    span = Run(True, DEFAULT_ON).tracer.start_span("span")
    histogram.record(1, context=set_span_in_context(span, Context()))
    (point,) = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    (exemplar,) = point.exemplars
    assert (exemplar.trace_id, exemplar.span_id) == span.get_span_context()[:2]
    provider.shutdown()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_fork() -> None:
    """In a forked child spans carry the resource that the SDK has there, and one of before keeps its own."""
    output = run_program("""
        import json, os
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
        from codoperf_otel.sdk.lean import lean_tracer

        class Shown(SpanProcessor):
            def on_end(self, span):
                shown.append([span.name, dict(span.resource.attributes)])

        shown = []
        provider = TracerProvider(resource=Resource.create({"service.name": "test"}))
        provider.add_span_processor(Shown())
        stock = provider.get_tracer("test")
        tracers = [stock, lean_tracer(stock)]
        before = [tracer.start_span("before") for tracer in tracers]
        if os.fork() == 0:
            for tracer, span in zip(tracers, before):
                span.end()
                tracer.start_span("in child").end()
            print(json.dumps(shown))
        else:
            os.wait()
    """)
    shown = json.loads(output)
    assert shown[:2] == shown[2:]
    assert [name for name, _ in shown] == ["before", "in child"] * 2


def test_parts_replaced_later() -> None:
    """A processor, sampler, id generator or resource that the tracer is given later is used from then on."""
    run = Run(True, DEFAULT_ON)
    run.provider.add_span_processor(later := Heard())
    run.stock.sampler = Asked(ALWAYS_ON)
    run.stock.id_generator = RandomIdGenerator()
    run.stock.resource = Resource({"service.name": "other"})
    run.tracer.start_span("span").end()
    assert len(run.stock.sampler.calls) == 1
    assert later.ended[0].resource.attributes["service.name"] == "other"
    assert later.ended[0].context.trace_id > 2**64


class OwnTracer(sdk.Tracer):
    """A tracer that somebody derived."""


@pytest.mark.parametrize("tracer", [trace.NoOpTracer(), trace.ProxyTracer("proxy")])
def test_not_the_sdks_tracer(tracer: Tracer) -> None:
    """Over anything but an SDK tracer there is no lean one."""
    assert lean_tracer(tracer) is None


def test_exactly_the_sdks_tracer() -> None:
    """A derived tracer, which may do more, stays in use; so does a lean one."""
    run = Run(True, DEFAULT_ON)
    assert lean_tracer(run.tracer) is None
    run.stock.__class__ = OwnTracer
    assert lean_tracer(run.stock) is None


def test_tracer_that_counts_its_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's metrics about itself need the SDK's spans."""
    stock = Run(False, DEFAULT_ON).stock
    monkeypatch.setenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "False")
    assert lean_tracer(stock) is not None
    monkeypatch.setenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "True")
    assert lean_tracer(stock) is None


def test_disabled_tracer() -> None:
    """A tracer that the SDK's configuration has disabled stays so."""
    if "_tracer_configurator" not in inspect.signature(TracerProvider).parameters:
        pytest.skip("this SDK disables no tracers")
    provider = TracerProvider(
        shutdown_on_exit=False,
        _tracer_configurator=lambda scope: type("Config", (), {"is_enabled": scope.name != "off"})(),
    )
    assert lean_tracer(provider.get_tracer("on")) is not None
    assert lean_tracer(provider.get_tracer("off")) is None


def test_sdk_that_lost_a_part() -> None:
    """Where the tracer lacks something that a lean span needs, there is none."""
    stock = Run(False, DEFAULT_ON).stock
    del stock.instrumentation_info
    assert lean_tracer(stock) is None


def test_sdk_whose_spans_have_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a lean span does not come out as the SDK's own, there is none."""
    monkeypatch.setattr(sdk.Span, "set_status", lambda *_: None)
    assert lean_tracer(Run(False, DEFAULT_ON).stock) is None


def test_trial_is_not_heard_of() -> None:
    """Trying the SDK asks no sampler, tells no processor and draws no random number."""
    state = random.getstate()
    run = Run(True, sampler := Asked(ALWAYS_ON))
    assert not sampler.calls
    assert not run.heard.calls
    assert run.stock.id_generator.last == 0
    assert random.getstate() == state


def test_without_the_sdk() -> None:
    """Without the SDK there is no lean tracer."""
    output = run_program("""
        import sys
        sys.modules["opentelemetry.sdk"] = None
        from opentelemetry.trace import NoOpTracer
        from codoperf_otel.sdk.lean import lean_tracer
        print(lean_tracer(NoOpTracer()))
    """)
    assert output == "None\n"


@pytest.mark.parametrize(
    ("value", "tracer"), [(None, "LeanTracer"), ("true", "LeanTracer"), ("false", "Tracer")]
)
def test_configure_makes_spans_lean(
    value: str | None, tracer: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Under `configure` spans are lean unless the variable says no."""
    if value is not None:
        monkeypatch.setenv("CODOPERF_OTEL_LEAN_SPANS", value)
    output = run_program(f"""
        import codoperf_otel
        from codoperf_otel import _telemetry
        codoperf_otel.configure(file={str(tmp_path)!r})
        print(type(_telemetry.active().tracer).__name__)
    """)
    assert output == f"{tracer}\n"


def test_wrong_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A wrong value is named with the variable and what is allowed, before anything is set up."""
    monkeypatch.setenv("CODOPERF_OTEL_LEAN_SPANS", "maybe")
    with pytest.raises(ValueError, match=r"^CODOPERF_OTEL_LEAN_SPANS is 'maybe': it must be true or false$"):
        codoperf_otel.configure(file=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def names_used(path: Path) -> Iterator[str]:
    """The attributes and imported names in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and not (
            isinstance(node.value, ast.Name) and node.value.id == "self"
        ):
            yield node.attr
        elif isinstance(node, ast.ImportFrom):
            yield from (node.module or "").split(".")
            yield from (alias.name for alias in node.names)


def test_no_private_name_of_the_sdk() -> None:
    """Nothing with a leading underscore is asked of the SDK, and no field of its span is used."""
    (folder,) = lean.__path__
    used = {name for path in Path(folder).glob("*.py") for name in names_used(path)}
    private = {name for name in used if name.startswith("_") and not name.endswith("__")}
    assert private == {"_calls", "_telemetry"}
    span = Run(True, DEFAULT_ON).tracer.start_span("span")
    fields = {name for kind in type(span).__mro__[:1] for name in kind.__slots__} | set(vars(span))
    assert not fields & set(vars(Run(False, DEFAULT_ON).tracer.start_span("span")))
