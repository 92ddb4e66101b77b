"""Pydantic AI: its agents and tools are recorded, on its own spans where it makes some."""

from __future__ import annotations

import asyncio

import pytest
from observed import BURNT, burn, check_tools, counted, failing, runs_of
from pydantic_ai import Agent, ModelRetry, ToolFailed
from pydantic_ai.agent import AbstractAgent
from pydantic_ai.capabilities import Instrumentation
from pydantic_ai.models.test import TestModel

import codoperf_otel as co

TOOLS = [("ask", "planner"), ("look", "reviewer"), ("read", "planner"), ("search", "planner")]


def team(seconds=0.01, **options):
    """An agent with parallel tools, one of which asks another agent."""
    planner = Agent(TestModel(), name="planner", **options)
    reviewer = Agent(TestModel(), name="reviewer", **options)

    @planner.tool_plain
    async def search() -> str:
        return burn(seconds)

    @planner.tool_plain
    @co.tool("read")
    def read() -> str:
        return burn(seconds)

    @planner.tool_plain
    async def ask() -> str:
        return (await reviewer.run("look")).output

    @reviewer.tool_plain
    def look() -> str:
        return burn(seconds)

    return planner


ANSWER = '{"search":"planner","read":"planner","ask":"{\\"look\\":\\"reviewer\\"}"}'


@pytest.fixture
def instrument_all(request):
    """Whether all of Pydantic AI's agents make spans of their own."""
    Agent.instrument_all(request.param)
    yield request.param
    Agent.instrument_all(False)


@pytest.mark.parametrize(
    ("instrument_all", "options"),
    [(False, {}), (True, {}), (False, {"capabilities": [Instrumentation()]})],
    indirect=["instrument_all"],
)
def test_each_tool_has_its_agent_its_cpu_time_and_one_span(recorded, instrument_all, options):
    """It is so without Pydantic AI's own spans and with them, for decorated tools and for plain ones."""
    before = counted("read")
    assert team(BURNT, **options).run_sync("go").output == ANSWER
    assert recorded.agents() == ["planner", "reviewer"]
    check_tools(recorded, TOOLS, "search", "read", "look")
    assert counted("read") - before == 1
    are_ours = not options and not instrument_all
    assert all(("codoperf.cpu.time" in span.attributes) == are_ours for span in recorded.of("invoke_agent"))


def stream(agent):
    """The output of a streamed run."""

    async def run():
        async with agent.run_stream("go") as result:
            return await result.get_output()

    return asyncio.run(run())


def iterate(agent):
    """The output of a run that is iterated over."""

    async def run():
        async with agent.iter("go") as steps:
            async for _ in steps:
                pass
        return steps.result.output

    return asyncio.run(run())


@pytest.mark.parametrize("instrument_all", [False, True], indirect=True)
def test_a_decorated_agent_around_one_of_the_same_name(recorded, instrument_all):
    """It is one run with one span, whether Pydantic AI makes spans or not."""

    @co.agent("planner")
    def main():
        return team().run_sync("go").output

    before = runs_of("planner")
    assert main() == ANSWER
    assert runs_of("planner") - before == 1
    assert recorded.agents() == ["planner", "reviewer"]
    check_tools(recorded, TOOLS)
    (span,) = (
        span for span in recorded.of("invoke_agent") if span.attributes["gen_ai.agent.name"] == "planner"
    )
    assert ("gen_ai.aggregated_usage.input_tokens" in span.attributes) == instrument_all


@pytest.mark.parametrize("run", [stream, iterate])
def test_other_ways_to_run_an_agent(recorded, run):
    """A streamed run and one that is iterated over are invocations, too."""
    assert run(team()) == ANSWER
    assert recorded.agents() == ["planner", "reviewer"]
    assert recorded.tools() == TOOLS


def test_agents_that_run_at_once(recorded):
    """Each of several runs on one loop has its own tools."""

    async def run():
        planner = team()
        return await asyncio.gather(*(planner.run("go") for _ in range(3)))

    assert {result.output for result in asyncio.run(run())} == {ANSWER}
    assert recorded.tools() == sorted(TOOLS * 3)


def test_a_tool_that_fails(recorded):
    """The program gets the tool's own exception, and the tool's span has it."""
    agent = Agent(TestModel(), name="planner")

    @agent.tool_plain
    def search() -> str:
        raise LookupError("nothing")

    with pytest.raises(LookupError, match="nothing"):
        agent.run_sync("go")
    assert [span.attributes["error.type"] for span in recorded.of("execute_tool")] == ["LookupError"]
    assert [span.attributes["error.type"] for span in recorded.of("invoke_agent")] == ["LookupError"]


@pytest.mark.parametrize("instrument_all", [False, True], indirect=True)
@pytest.mark.parametrize(
    ("error", "recorded_as"), [(ModelRetry, "ToolRetryError"), (ToolFailed, "ToolFailedError")]
)
def test_a_tool_whose_failure_only_the_model_is_told(recorded, instrument_all, error, recorded_as):
    """The agent goes on as without us, and the tool has failed."""
    tries = []
    agent = Agent(TestModel(), name="planner")

    @agent.tool_plain
    def search() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise error("nothing")
        return "found"

    with failing(recorded, "search", "planner", f"pydantic_ai.exceptions.{recorded_as}"):
        agent.run_sync("go")


def test_uninstrumenting_restores(unrecorded):
    """Afterwards the framework is as it was, and only what is decorated is recorded."""
    before = Agent.iter, AbstractAgent.run
    co.instrument_agents()
    assert (Agent.iter, AbstractAgent.run) != before
    co.uninstrument_agents()
    assert (Agent.iter, AbstractAgent.run) == before
    team().run_sync("go")
    assert unrecorded.tools() == [("read", None)]


def test_example(check_example):
    """The example of the page."""
    check_example("Pydantic AI")
