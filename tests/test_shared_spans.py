"""One span for one execution: a decorated agent or tool inside a span of another library of the same name."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, nullcontext, suppress
from types import SimpleNamespace

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from opentelemetry.trace import Span, SpanKind, StatusCode

import codoperf_otel as co
from codoperf_otel._frameworks.recorded import Execution, block, recorded
from codoperf_otel._frameworks.returned_failures import recorded_with_failures
from codoperf_otel.sdk import ResourceSpanProcessor

AGENT, TOOL, OPERATION = "gen_ai.agent.name", "gen_ai.tool.name", "gen_ai.operation.name"
CPU, SELF = "codoperf.cpu.time", "codoperf.cpu.self_time"
SEARCHED = frozenset({(TOOL, "search")})


@pytest.fixture(params=["with the processor", "without"])
def other(telemetry, request):
    """A tracer of a framework, whose spans the processor measures or not."""
    if request.param == "with the processor":
        telemetry.tracer_provider.add_span_processor(ResourceSpanProcessor())
    return telemetry.tracer_provider.get_tracer("framework")


def tool_span(other, name="search"):
    """A framework's span of a tool."""
    return other.start_as_current_span("tool", attributes={OPERATION: "execute_tool", TOOL: name})


@co.tool("search", description="Finds.")
def search():
    """A decorated tool."""


def counted_cpu_time(telemetry):
    """What the metrics have of all operations since the process began, in seconds."""
    return sum(telemetry.values("codoperf.operation.cpu.time").values())


def test_a_tool_shares_the_span_of_its_framework(telemetry, other, cpu):
    """There is one span, which has what the tool's own would have; metrics count the tool once."""

    @co.tool("search", description="Finds.")
    def burning():
        cpu.burn(4)

    with tool_span(other) as span:
        cpu.burn(1)
        burning()
        cpu.burn(2)
        is_measured = hasattr(span, "_codoperf_charged")
    (span,) = telemetry.spans()
    seconds = 0.007 if is_measured else 0.004
    assert (span.attributes[CPU], span.attributes[SELF]) == (seconds, seconds)
    assert span.attributes["gen_ai.tool.description"] == "Finds."
    assert telemetry.values("gen_ai.execute_tool.duration") == {SEARCHED: 1}


def test_an_agent_shares_the_span_of_its_framework(telemetry, other):
    """Tools in it have the agent."""
    attributes = {OPERATION: "invoke_agent", AGENT: "planner"}
    with other.start_as_current_span("run", attributes=attributes), co.agent("planner"):
        search()
    assert [span.name for span in telemetry.spans()] == ["execute_tool search", "run"]
    assert telemetry.span("execute_tool search").attributes[AGENT] == "planner"
    assert telemetry.parent(telemetry.span("execute_tool search")) == "run"


@pytest.mark.parametrize(
    "attributes",
    [{}, {OPERATION: "execute_tool", TOOL: "read"}, {OPERATION: "chat", TOOL: "search"}],
)
def test_another_span_is_not_shared(telemetry, other, attributes):
    """A span of another tool, or of something else, is the parent."""
    with other.start_as_current_span("tool", attributes=attributes):
        search()
    assert telemetry.parent(telemetry.span("execute_tool search")) == "tool"


def test_a_span_whose_name_says_it(telemetry, other):
    """A framework may set the attributes of its span only afterwards."""
    with other.start_as_current_span("execute_tool search", attributes={"x": 1}) as span:
        search()
        span.set_attribute(OPERATION, "execute_tool")
    assert [span.name for span in telemetry.spans()] == ["execute_tool search"]


def test_a_span_is_shared_once(telemetry, other):
    """A second call, and one inside the first, have spans of their own."""

    @co.tool("search")
    def twice():
        search()

    with tool_span(other):
        twice()
        search()
    assert [span.name for span in telemetry.spans()] == ["execute_tool search", "execute_tool search", "tool"]


def test_what_is_between_keeps_the_two_apart(telemetry, other):
    """A tool inside an operation inside a span of that tool is another execution."""
    with tool_span(other), co.performance_context("retry"):
        search()
    assert [span.name for span in telemetry.spans()] == ["execute_tool search", "retry", "tool"]


def test_the_shared_span_is_the_frameworks_own(telemetry, other):
    """To the tool it is that span; it neither ends it nor says how it ended."""

    @co.tool("search")
    def fail():
        span = trace.get_current_span()
        assert isinstance(span, Span)
        assert span.name == "tool"
        assert span.get_span_context() == outer.get_span_context()
        span.set_attribute("rows", 3)
        co.current_operation().set("shard", 1)
        span.end()
        raise LookupError("nothing")

    with tool_span(other) as outer:
        with pytest.raises(LookupError):
            fail()
        assert outer.is_recording()
    (span,) = telemetry.spans()
    assert (span.attributes["rows"], span.attributes["shard"]) == (3, 1)
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "LookupError"
    assert not span.events
    failed = frozenset({(TOOL, "search"), ("error.type", "LookupError")})
    assert telemetry.values("gen_ai.execute_tool.duration") == {failed: 1}


def test_attributes_that_a_framework_has_set_stay(telemetry, other):
    """Only what it lacks is added."""
    with tool_span(other) as span:
        span.set_attribute("gen_ai.tool.description", "Theirs.")
        search()
    assert telemetry.span("tool").attributes["gen_ai.tool.description"] == "Theirs."


def test_a_framework_whose_span_cannot_be_read(telemetry, other, caplog):
    """The tool runs, has a span of its own, and a warning says why."""

    class Broken(trace.NonRecordingSpan):
        @property
        def attributes(self):
            raise RuntimeError("broken")

    with trace.use_span(Broken(trace.INVALID_SPAN_CONTEXT)):
        search()
    assert telemetry.span("execute_tool search")


def adapted(function):
    """Run a function as a framework does whose adapter records it."""
    return recorded(lambda: function(), lambda: Execution("tool", "search", "framework"))()


def test_a_decorated_tool_that_an_adapter_records(telemetry, cpu):
    """It is one span and one call, and has the CPU time of both."""

    @co.tool("search")
    def burning():
        cpu.burn(4)

    def run():
        cpu.burn(1)
        burning()

    before = counted_cpu_time(telemetry)
    adapted(run)
    (span,) = telemetry.spans()
    assert (span.attributes[CPU], span.attributes[SELF]) == (0.005, 0.005)
    assert telemetry.values("gen_ai.execute_tool.duration") == {SEARCHED: 1}
    assert counted_cpu_time(telemetry) - before == pytest.approx(0.005)


def test_all_three_are_one_span(telemetry, other):
    """A framework's span, its adapter's call and a decorated function."""
    with tool_span(other):
        adapted(search)
    assert [span.name for span in telemetry.spans()] == ["tool"]
    assert telemetry.values("gen_ai.execute_tool.duration") == {SEARCHED: 1}


def test_a_decorated_agent_around_one_of_a_framework(telemetry):
    """It is one invocation."""
    with co.agent("planner"), block(Execution("agent", "planner", "framework")):
        search()
    assert [span.name for span in telemetry.spans()] == ["execute_tool search", "invoke_agent planner"]
    assert telemetry.values("gen_ai.invoke_agent.duration") == {frozenset({(AGENT, "planner")}): 1}


@pytest.fixture
def agents_instrumented(telemetry):
    """The agents of frameworks are instrumented."""
    co.instrument_agents()
    yield
    co.uninstrument_agents()


def agent_span(other, name="planner", **options):
    """A framework's span of an agent, with what is recorded in it."""
    given = {OPERATION: "invoke_agent", AGENT: name, "given": "by the framework"}
    return other.start_as_current_span(f"invoke_agent {name}", attributes=given, **options)


def runs_of(agent):
    """How many runs of an agent the report has."""
    found = co.agent_report().to_dict().get(agent)
    return found["invocations"] if found else 0


@pytest.mark.parametrize("sampler", [ALWAYS_ON, ALWAYS_OFF])
@pytest.mark.parametrize("is_adapted", [True, False])
def test_a_framework_with_spans_inside_a_decorated_agent(
    telemetry, other, agents_instrumented, sampler, is_adapted
):
    """Its span is that of the decorated one, which is one run."""
    telemetry.tracer_provider.sampler = sampler
    before = runs_of("planner")
    with co.agent("planner") as ours, agent_span(other) as theirs:
        theirs.set_attribute("more", 1)
        assert theirs.get_span_context() == ours.span.get_span_context()
        with block(Execution("agent", "planner", "framework")) if is_adapted else nullcontext():
            search()
    assert runs_of("planner") - before == 1
    assert telemetry.values("gen_ai.invoke_agent.duration") == {frozenset({(AGENT, "planner")}): 1}
    if sampler is ALWAYS_ON:
        tool, agent = telemetry.spans()
        assert (tool.name, agent.name) == ("execute_tool search", "invoke_agent planner")
        assert (agent.attributes["given"], agent.attributes["more"]) == ("by the framework", 1)
        assert tool.parent.span_id == agent.context.span_id


def test_a_framework_that_fails_inside_a_decorated_agent(telemetry, other, agents_instrumented):
    """The exception is on the one span once; where the agent goes on without it, the agent has not failed."""
    with pytest.raises(LookupError), co.agent("planner"), agent_span(other):
        raise LookupError
    with co.agent("planner"), suppress(LookupError), agent_span(other):
        raise LookupError
    failed, fine = telemetry.spans()
    assert [event.name for event in failed.events] == ["exception"]
    assert (failed.status.status_code, fine.status.status_code) == (StatusCode.ERROR, StatusCode.UNSET)
    assert not fine.events


def test_what_else_a_framework_begins_in_a_decorated_agent(telemetry, other, agents_instrumented):
    """A second run, another agent's and one that a call of a server stands for have their own spans."""
    client = {OPERATION: "execute_tool", TOOL: "search"}
    with co.agent("planner"):
        with agent_span(other), agent_span(other, "other"):
            pass
        with agent_span(other):
            pass
        with (
            co.tool("search"),
            other.start_as_current_span("tools/call search", None, SpanKind.CLIENT, client),
        ):
            pass
    assert [span.name for span in telemetry.spans()] == [
        "invoke_agent other",
        "invoke_agent planner",
        "tools/call search",
        "execute_tool search",
        "invoke_agent planner",
    ]


def test_a_framework_with_spans_between(telemetry, other, agents_instrumented):
    """A decorated agent around a framework's workflow, in which that agent runs, is one run."""
    before = runs_of("planner")
    with (
        co.agent("planner"),
        other.start_as_current_span("invoke_workflow planner"),
        agent_span(other),
        block(Execution("agent", "planner", "framework")),
    ):
        search()
    assert runs_of("planner") - before == 1


def test_decorated_ones_of_one_name_stay_two(telemetry):
    """A program that nests its own has a span for each."""
    with co.tool("search"):
        search()
    assert [span.name for span in telemetry.spans()] == ["execute_tool search"] * 2


def test_without_spans_each_execution_is_counted_once(telemetry):
    """Metrics are the same where nothing is sampled."""
    telemetry.tracer_provider.sampler = ALWAYS_OFF
    adapted(search)
    assert telemetry.values("gen_ai.execute_tool.duration") == {SEARCHED: 1}


def test_what_a_framework_does_not_tell_is_not_recorded(telemetry):
    """An execution that has no name, or whose description fails, runs as it is."""
    nameless = recorded(lambda: 1, lambda: Execution("tool", "", "framework"))
    failing = recorded(lambda: 2, lambda: 1 / 0)
    assert (nameless(), failing()) == (1, 2)
    assert telemetry.spans() == []


class ToldError(Exception):
    """What a framework tells its model."""


async def steps(error):
    """A framework's tool as an async generator, whose last item says how it failed."""
    try:
        yield "first"
        yield error
    finally:
        ENDED.append(error)


ENDED: list[object] = []


def streamed(telemetry, error, most=9):
    """What a consumer gets of it that takes so many items, and the span."""
    owner = SimpleNamespace(steps=steps)
    replacement = recorded_with_failures(
        owner,
        "steps",
        lambda _: Execution("tool", "search", "framework"),
        lambda last, _: last if isinstance(last, Exception) else None,
    ).replacement

    async def run():
        stream, found = replacement(error), []
        async with aclosing(stream):
            async for item in stream:
                found.append((item, co.current_agent()))
                if len(found) == most:
                    break
        return found

    with co.agent("planner"):
        found = asyncio.run(run())
    return found, telemetry.span("execute_tool search")


@pytest.mark.parametrize("error", [ToldError("nothing"), "second"])
def test_a_stream_that_ends_with_a_failure(telemetry, error):
    """The consumer gets all items and no exception; the tool has failed, or not."""
    before = co.agent_report().to_dict().get("planner", {"self": {"errors": 0}})["self"]["errors"]
    found, span = streamed(telemetry, error)
    assert found == [("first", "planner"), (error, "planner")]
    has_failed = isinstance(error, ToldError)
    assert span.status.is_ok is not has_failed
    assert co.agent_report().to_dict()["planner"]["self"]["errors"] - before == has_failed


def test_a_stream_that_is_left(telemetry):
    """What it holds is let go of at once, and it is abandoned rather than failed."""
    ENDED.clear()
    found, span = streamed(telemetry, "second", most=1)
    assert (found, ENDED) == ([("first", "planner")], ["second"])
    assert span.attributes["codoperf.outcome"] == "abandoned"
