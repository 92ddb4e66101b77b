"""DSPy: agents and tools are recorded."""

from __future__ import annotations

import asyncio

import dspy
import pytest
from dspy.utils import DummyLM
from observed import BURNT, burn, check_tools, counted, failing

import codoperf_otel as co


class Reviewer(dspy.ReAct):
    """An agent of a class of its own."""


def answers(*tools):
    """A model that calls tools one after the other, and then answers."""
    steps = [
        {"next_thought": "so", "next_tool_name": name, "next_tool_args": "{}"} for name in (*tools, "finish")
    ]
    return DummyLM([*steps, {"reasoning": "so", "answer": f"done {', '.join(tools)}"}])


def team(seconds=0.01):
    """An agent, one of whose tools asks another agent."""

    def search() -> str:
        return burn(seconds)

    @co.tool("read")
    def read() -> str:
        return burn(seconds)

    def look() -> str:
        return burn(seconds)

    def ask() -> str:
        return reviewer(question="look").answer

    reviewer = Reviewer("question -> answer", tools=[look])
    reviewer.set_lm(answers("look"))
    planner = dspy.ReAct("question -> answer", tools=[search, read, ask])
    planner.set_lm(answers("search", "read", "ask"))
    return planner


def observations(result):
    """What the tools gave, and the answer."""
    seen = [value for name, value in result.trajectory.items() if name.startswith("observation")]
    return [*seen, result.answer]


EXPECTED = ["ReAct", "ReAct", "done look", "Completed.", "done search, read, ask"]
TOOLS = [("ask", "ReAct"), ("look", "Reviewer"), ("read", "ReAct"), ("search", "ReAct")]


def test_each_tool_has_its_agent_its_cpu_time_and_one_span(recorded):
    """Of decorated tools and plain ones, and of agents that are tools."""
    before = counted("read")
    assert observations(team(BURNT)(question="go")) == EXPECTED
    assert recorded.agents() == ["ReAct", "Reviewer"]
    check_tools(recorded.without("finish"), TOOLS, "search", "read", "look")
    assert counted("read") - before == 1


def test_an_asynchronous_run(recorded):
    """It has the same tools."""
    assert observations(asyncio.run(team().acall(question="go"))) == EXPECTED
    assert recorded.without("finish").tools() == TOOLS


def test_a_tool_that_fails(recorded):
    """The program gets the tool's own exception where it calls it itself, and the tool's span has it."""

    def search() -> str:
        raise LookupError("nothing")

    with pytest.raises(LookupError, match="nothing"):
        dspy.Tool(search)()
    (span,) = recorded.of("execute_tool")
    assert span.attributes["error.type"] == "LookupError"


def test_an_agents_tool_that_fails(recorded):
    """The agent goes on as without us, and the tool has failed."""

    def search() -> str:
        raise LookupError("nothing")

    planner = dspy.ReAct("question -> answer", tools=[search])
    planner.set_lm(answers("search"))
    with failing(recorded, "search", "ReAct", "LookupError"):
        assert planner(question="go").answer == "done search"


def test_uninstrumenting_restores(unrecorded):
    """Afterwards the framework is as it was, and only what is decorated is recorded."""
    before = dspy.ReAct.forward, dspy.Tool.__call__
    co.instrument_agents()
    assert dspy.Tool.__call__ is not before[1]
    co.uninstrument_agents()
    assert (dspy.ReAct.forward, dspy.Tool.__call__) == before
    team()(question="go")
    assert unrecorded.tools() == [("read", None)]


def test_example(check_example):
    """The example of the page."""
    check_example("DSPy")
