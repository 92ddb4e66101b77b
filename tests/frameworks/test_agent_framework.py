"""Microsoft Agent Framework: what its agents and tools take is on its own spans."""

from __future__ import annotations

import asyncio

import pytest
from agent_framework import (
    Agent,
    BaseChatClient,
    ChatResponse,
    ChatResponseUpdate,
    Content,
    FunctionInvocationLayer,
    FunctionTool,
    Message,
    tool,
)
from agent_framework.observability import OBSERVABILITY_SETTINGS, AgentTelemetryLayer
from observed import BURNT, burn, check_tools, counted, failing, runs_of

import codoperf_otel as co

TOOLS = [("look", "reviewer"), ("read", "planner"), ("reviewer", "planner"), ("search", "planner")]


class Scripted(FunctionInvocationLayer, BaseChatClient):
    """A model whose answers are given: texts, or calls of tools with their arguments."""

    def __init__(self, *answers):
        super().__init__()
        self.answers = list(answers)

    def _inner_get_response(self, *, messages, stream, options, **kwargs):
        answer = self.answers.pop(0)
        if isinstance(answer, str):
            contents = [Content.from_text(answer)]
        else:
            contents = [
                Content.from_function_call(name, name, arguments=given) for name, given in answer.items()
            ]
        if stream:
            return self._build_response_stream(updates(contents))
        return response(contents)


async def response(contents):
    """An answer."""
    return ChatResponse(messages=[Message("assistant", contents)])


async def updates(contents):
    """An answer that is streamed."""
    yield ChatResponseUpdate(role="assistant", contents=contents)


def tools(seconds):
    """Tools, one of which is a decorated function."""

    @tool
    async def search() -> str:
        return burn(seconds)

    @tool
    @co.tool("read")
    def read() -> str:
        return burn(seconds)

    @tool
    def look() -> str:
        return burn(seconds)

    return search, read, look


def team(seconds=0.01):
    """An agent with parallel tools, one of which is another agent."""
    search, read, look = tools(seconds)
    reviewer = Agent(Scripted({"look": {}}, "fine"), name="reviewer", tools=[look])
    asked = {"search": {}, "read": {}, "reviewer": {"task": "look"}}
    return Agent(Scripted(asked, "done"), name="planner", tools=[search, read, reviewer.as_tool()])


def given(result):
    """What the tools gave, and the answer."""
    contents = [content for message in result.messages for content in message.contents]
    return [*(each.result for each in contents if each.type == "function_result"), result.text]


EXPECTED = ["planner", "planner", "fine", "done"]


@pytest.fixture(params=[True, False])
def has_spans(request, monkeypatch):
    """Whether Agent Framework makes spans of its own, as it does by default."""
    monkeypatch.setattr(OBSERVABILITY_SETTINGS, "enable_instrumentation", request.param)
    return request.param


def test_each_tool_has_its_agent_its_cpu_time_and_one_span(recorded, has_spans):
    """Of parallel tools, decorated and plain, and of agents that are tools."""
    before = counted("read")
    assert given(asyncio.run(team(BURNT).run("go"))) == EXPECTED
    if has_spans:
        assert recorded.agents() == ["planner", "reviewer"]
        check_tools(recorded, TOOLS, "search", "read", "look")
    else:  # an agent that is a tool is streamed, and nothing says which agent that is
        assert recorded.agents() == ["planner"]
        check_tools(recorded.without("look"), TOOLS[1:], "search", "read")
    scopes = {span.instrumentation_scope.name for span in recorded.of("execute_tool")}
    assert scopes == {"agent_framework" if has_spans else "codoperf_otel"}
    assert counted("read") - before == 1


def runs(agent):
    """How many runs an agent has had."""
    found = co.agent_report().to_dict()
    return found[agent]["invocations"] if agent in found else 0


def test_a_streamed_run(recorded):
    """It has the same agents and tools, and each agent's run is in the report."""
    before = runs("planner"), runs("reviewer")

    async def run():
        stream = team().run("go", stream=True)
        async for _ in stream:
            pass
        return given(await stream.get_final_response())

    assert asyncio.run(run()) == EXPECTED
    assert recorded.agents() == ["planner", "reviewer"]
    assert recorded.tools() == TOOLS
    assert (runs("planner") - before[0], runs("reviewer") - before[1]) == (1, 1)


def test_a_tool_that_fails(recorded):
    """The agent goes on as without us, and the tool has failed."""

    @tool
    def search() -> str:
        raise LookupError("nothing")

    agent = Agent(Scripted({"search": {}}, "gave up"), name="planner", tools=[search])
    with failing(recorded, "search", "planner", "LookupError"):
        assert asyncio.run(agent.run("go")).text == "gave up"


def test_a_decorated_agent_around_one_of_the_same_name(recorded, has_spans):
    """It is one run with one span."""
    before = runs_of("planner")
    assert given(asyncio.run(co.agent("planner")(team().run)("go"))) == EXPECTED
    assert runs_of("planner") - before == 1
    assert recorded.agents() == (["planner", "reviewer"] if has_spans else ["planner"])


def test_uninstrumenting_restores(unrecorded):
    """Afterwards the framework is as it was; a decorated tool still shares its span."""
    before = FunctionTool._invoke_function, AgentTelemetryLayer._trace_agent_invocation
    co.instrument_agents()
    assert FunctionTool._invoke_function is not before[0]
    co.uninstrument_agents()
    assert (FunctionTool._invoke_function, AgentTelemetryLayer._trace_agent_invocation) == before
    asyncio.run(team().run("go"))
    assert unrecorded.tools() == TOOLS


def test_example(check_example):
    """The example of the page."""
    check_example("Microsoft Agent Framework")
