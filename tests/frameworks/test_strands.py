"""Strands Agents: what its agents and tools take is on its own spans."""

from __future__ import annotations

import asyncio

import pytest
from observed import BURNT, burn, check_tools, counted, failing, runs_of
from strands import Agent, tool
from strands.models import Model
from strands.multiagent import Swarm
from strands.tools.executors import _executor

import codoperf_otel as co

TOOLS = [("ask", "planner"), ("look", "reviewer"), ("read", "planner"), ("search", "planner")]


class Scripted(Model):
    """A model whose answers are given: texts, or calls of tools with their arguments."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def update_config(self, **_):
        """There is nothing to configure."""

    def get_config(self):
        """There is nothing to configure."""
        return {}

    async def structured_output(self, *_, **__):
        """It is not asked for."""
        yield {}

    async def stream(self, *_, **__):
        """The next answer, as events."""
        answer = self.answers.pop(0)
        yield {"messageStart": {"role": "assistant"}}
        if isinstance(answer, str):
            yield {"contentBlockStart": {"start": {}}}
            yield {"contentBlockDelta": {"delta": {"text": answer}}}
            yield {"contentBlockStop": {}}
        for name, given in () if isinstance(answer, str) else answer.items():
            yield {"contentBlockStart": {"start": {"toolUse": {"name": name, "toolUseId": name}}}}
            yield {"contentBlockDelta": {"delta": {"toolUse": {"input": given}}}}
            yield {"contentBlockStop": {}}
        yield {"messageStop": {"stopReason": "end_turn" if isinstance(answer, str) else "tool_use"}}


def agent(name, tools, *answers):
    """An agent that prints nothing."""
    return Agent(model=Scripted(*answers), tools=tools, name=name, callback_handler=None)


def tools(seconds):
    """Tools, one of which is a decorated function."""

    @tool
    def search() -> str:
        """Finds."""
        return burn(seconds)

    @tool
    @co.tool("read")
    async def read() -> str:
        """Reads."""
        return burn(seconds)

    @tool
    def look() -> str:
        """Looks."""
        return burn(seconds)

    return search, read, look


def team(seconds=0.01):
    """An agent with parallel tools, one of which asks another agent."""
    search, read, look = tools(seconds)
    reviewer = agent("reviewer", [look], {"look": "{}"}, "fine")

    @tool
    def ask() -> str:
        """Asks."""
        return str(reviewer("look"))

    return agent("planner", [search, read, ask], {"search": "{}", "read": "{}", "ask": "{}"}, "done")


def given(agent):
    """What the tools gave."""
    blocks = [block for message in agent.messages for block in message["content"] if "toolResult" in block]
    return sorted(block["toolResult"]["content"][0]["text"].strip() for block in blocks)


def test_each_tool_has_its_agent_its_cpu_time_and_one_span(recorded):
    """Of parallel tools, decorated and plain, and of agents that are tools."""
    before = counted("read")
    planner = team(BURNT)
    assert str(planner("go")).strip() == "done"
    assert given(planner) == ["fine", "planner", "planner"]
    assert recorded.agents() == ["planner", "reviewer"]
    check_tools(recorded, TOOLS, "search", "read", "look")
    assert {span.instrumentation_scope.name for span in recorded.of("execute_tool")} == {
        "strands.telemetry.tracer"
    }
    assert counted("read") - before == 1


def test_a_decorated_agent_around_one_of_the_same_name(recorded):
    """It is one run with one span."""
    before = runs_of("planner")
    co.agent("planner")(team())("go")
    assert runs_of("planner") - before == 1
    assert recorded.agents() == ["planner", "reviewer"]
    check_tools(recorded, TOOLS)


def test_a_streamed_run(recorded):
    """It has the same agents and tools."""

    async def run():
        async for _ in team().stream_async("go"):
            pass

    asyncio.run(run())
    assert recorded.agents() == ["planner", "reviewer"]
    assert recorded.tools() == TOOLS


def test_agents_that_hand_over_to_each_other(recorded):
    """Each agent of a swarm has its own tools."""
    search, _, look = tools(0.01)
    to_reviewer = {"handoff_to_agent": '{"agent_name": "reviewer", "message": "look"}'}
    planner = agent("planner", [search], {"search": "{}"}, to_reviewer, "over to you")
    reviewer = agent("reviewer", [look], {"look": "{}"}, "done")
    Swarm([planner, reviewer])("go")
    tools_found = recorded.without("handoff_to_agent")
    check_tools(tools_found, [("look", "reviewer"), ("search", "planner")])


def search_and_raise():
    """Raises."""
    raise LookupError("nothing")


def search_in_vain():
    """Says that it has failed."""
    return {"status": "error", "content": [{"text": "nothing"}]}


@pytest.mark.parametrize(
    ("function", "error"), [(search_and_raise, "LookupError"), (search_in_vain, "ToolError")]
)
def test_a_tool_that_fails(recorded, function, error):
    """The agent goes on as without us, and the tool has failed."""
    search = tool(function, name="search")
    planner = agent("planner", [search], {"search": "{}"}, "gave up")
    with failing(recorded, "search", "planner", error):
        assert str(planner("go")).strip() == "gave up"
    assert "nothing" in given(planner)[0]


def test_a_tool_that_is_not_there(recorded):
    """What a model makes up is counted nowhere."""
    agent("planner", [], {"no_such_tool": "{}"}, "gave up")("go")
    assert counted("no_such_tool") == 0


def test_uninstrumenting_restores(unrecorded):
    """Afterwards the framework is as it was; a decorated tool still shares its span."""
    before = Agent._run_loop, _executor._run_tool
    co.instrument_agents()
    assert Agent._run_loop is not before[0]
    co.uninstrument_agents()
    assert (Agent._run_loop, _executor._run_tool) == before
    team()("go")
    assert unrecorded.tools() == TOOLS


def test_example(check_example):
    """The example of the page."""
    check_example("Strands Agents")
