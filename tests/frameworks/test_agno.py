"""Agno: agents, teams and tools are recorded."""

from __future__ import annotations

import asyncio

import pytest
from agno.agent import Agent, _run
from agno.models.openai import OpenAIChat
from agno.team import Team
from agno.tools.function import Function, FunctionCall
from observed import BURNT, burn, check_tools, counted

import codoperf_otel as co

pytestmark = pytest.mark.usefixtures("vendors_variables")

TOOLS = [("ask", "planner"), ("look", "reviewer"), ("read", "planner"), ("search", "planner")]


def agent(name, *tools, **options):
    """An agent that calls its tools at once, and then says what they gave."""
    return Agent(name=name, model=OpenAIChat("test"), tools=list(tools), telemetry=False, **options)


def team(seconds=0.01):
    """An agent with several tools, one of which asks another agent."""

    def search() -> str:
        return burn(seconds)

    @co.tool("read")
    def read() -> str:
        return burn(seconds)

    def look() -> str:
        return burn(seconds)

    reviewer = agent("reviewer", look)

    def ask() -> str:
        return reviewer.run("look").content

    return agent("planner", search, read, ask)


def test_a_tool_whose_exception_only_the_model_gets_has_failed(recorded):
    """Agno answers for it; what it returns is what it is without us."""

    def search() -> str:
        raise LookupError("nothing")

    tool_call = FunctionCall(function=Function.from_callable(search), arguments={})
    results = tool_call.execute(), asyncio.run(tool_call.aexecute())
    assert [(each.status, each.error) for each in results] == [("failure", "nothing")] * 2
    kinds = [span.attributes["error.type"] for span in recorded.of("execute_tool")]
    assert kinds == ["ToolError"] * 2


ANSWER = "done: done: reviewer, planner, planner"


def test_each_tool_has_its_agent_its_cpu_time_and_one_span(recorded):
    """Of decorated tools and plain ones, and of agents that are tools."""
    before = counted("read")
    assert team(BURNT).run("go").content == ANSWER
    assert recorded.agents() == ["planner", "reviewer"]
    check_tools(recorded, TOOLS, "search", "read", "look")
    assert counted("read") - before == 1


def test_asynchronous_and_streamed_runs(recorded):
    """They have the same agents and tools; asynchronous tools run at once."""

    async def run():
        found = [(await team().arun("go")).content]
        async for event in team().arun("go", stream=True):
            last = event.content
        return [*found, last]

    assert asyncio.run(run()) == [ANSWER, ANSWER]
    assert [event.content for event in team().run("go", stream=True)][-1] == ANSWER
    assert recorded.agents() == ["planner"] * 3 + ["reviewer"] * 3
    assert recorded.tools() == sorted(TOOLS * 3)


def test_a_team_of_agents(recorded):
    """Its members are agents, too, and their tools are theirs."""

    def look() -> str:
        return burn()

    members = [agent("reviewer", look, id="x")]  # that is whom the model hands over to
    lead = Team(name="lead", members=members, model=OpenAIChat("test"), telemetry=False)
    assert "done: reviewer" in lead.run("go").content
    assert recorded.agents() == ["lead", "reviewer"]
    check_tools(recorded, [("delegate_task_to_member", "lead"), ("look", "reviewer")])


def test_a_tool_that_fails(recorded):
    """The agent goes on as without us."""

    def search() -> str:
        raise LookupError("nothing")

    assert "nothing" in agent("planner", search).run("go").content
    assert recorded.tools() == [("search", "planner")]


def test_uninstrumenting_restores(unrecorded):
    """Afterwards the framework is as it was, and only what is decorated is recorded."""
    before = _run._run, FunctionCall.execute
    co.instrument_agents()
    assert _run._run is not before[0]
    co.uninstrument_agents()
    assert (_run._run, FunctionCall.execute) == before
    team().run("go")
    assert unrecorded.tools() == [("read", None)]


def test_example(check_example):
    """The example of the page."""
    check_example("Agno")
