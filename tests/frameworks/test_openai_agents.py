"""OpenAI Agents SDK: runs are workflows, and agents and tools are recorded, with tracing and without."""

from __future__ import annotations

import asyncio

import pytest
from agents import Agent, RunConfig, Runner, function_tool, handoff, set_trace_processors
from agents.run import AgentRunner
from agents.testing import ScriptedModel, assistant_message, function_call
from agents.tracing.spans import SpanImpl
from observed import BURNT, burn, counted, is_burnt

import codoperf_otel as co

TOOLS = [("look", "reviewer"), ("read", "planner"), ("search", "planner"), ("summarize", "planner")]


def call(tool, **arguments):
    """A model's call of a tool."""
    return function_call(tool, arguments, call_id=tool)


def team(seconds=0.01):
    """An agent with parallel tools, one of which is an agent; it hands over to another."""

    @function_tool
    async def search() -> str:
        return burn(seconds)

    @function_tool
    @co.tool("read")
    def read() -> str:
        return burn(seconds)

    @function_tool
    def look() -> str:
        return burn(seconds)

    def answers(*turns):
        return ScriptedModel([[assistant_message(turn)] if isinstance(turn, str) else turn for turn in turns])

    writer = Agent(name="writer", model=answers("short"))
    planner = Agent(name="planner", tools=[search, read, writer.as_tool("summarize", "Sums up.")])
    reviewer = Agent(name="reviewer", tools=[look], handoffs=[planner])
    planner.handoffs = [handoff(reviewer)]
    at_once = [call("search"), call("read"), call("summarize", input="x")]
    planner.model = answers(at_once, [call("transfer_to_reviewer")], "done by planner")
    reviewer.model = answers([call("look")], [call("transfer_to_planner")])
    return planner


def outputs(result):
    """What the tools gave, and the answer."""
    given = [item.output for item in result.new_items if item.type == "tool_call_output_item"]
    return [*given, result.final_output]


EXPECTED = ["planner", "planner", "short", "reviewer", "done by planner"]


@pytest.mark.parametrize("is_traced", [True, False])
def test_each_tool_has_its_agent_its_cpu_time_and_one_span(recorded, is_traced):
    """Agents that hand over to each other, parallel tools, decorated tools, and an agent that is a tool."""
    set_trace_processors([])
    before = counted("read")
    config = RunConfig(tracing_disabled=not is_traced, workflow_name="review")
    assert outputs(Runner.run_sync(team(BURNT), "go", run_config=config)) == EXPECTED
    assert recorded.agents() == ["planner", "planner", "reviewer", "writer"]
    assert recorded.tools() == TOOLS
    assert recorded.around("look") == "reviewer"
    assert is_burnt(*recorded.burnt("search"), *recorded.burnt("read"), *recorded.burnt("look"))
    assert [span.name for span in recorded.of("invoke_workflow")] == ["invoke_workflow review"]
    assert counted("read") - before == 1


def test_a_streamed_run(recorded):
    """It has the same agents and tools."""

    async def run():
        result = Runner.run_streamed(team(), "go")
        async for _ in result.stream_events():
            pass
        return result

    assert outputs(asyncio.run(run())) == EXPECTED
    assert recorded.tools() == TOOLS
    assert recorded.agents() == ["planner", "planner", "reviewer", "writer"]


def test_runs_at_once(recorded):
    """Each of several runs on one loop has its own agents and tools, and all agents have their CPU time."""

    async def run():
        return await asyncio.gather(*(Runner.run(team(), "go") for _ in range(3)))

    assert [outputs(result) for result in asyncio.run(run())] == [EXPECTED] * 3
    assert recorded.tools() == sorted(TOOLS * 3)
    assert all("codoperf.cpu.time" in span.attributes for span in recorded.of("invoke_agent"))


def test_a_run_that_fails(recorded):
    """The program gets the tool's exception, and the agent's span has it."""

    @function_tool(failure_error_function=None)
    def search() -> str:
        raise LookupError("nothing")

    agent = Agent(name="planner", tools=[search], model=ScriptedModel([[call("search")]]))
    with pytest.raises(Exception, match="nothing") as raised:
        Runner.run_sync(agent, "go")
    assert isinstance(raised.value.__cause__, LookupError)
    assert [span.attributes["error.type"] for span in recorded.of("execute_tool")] == ["LookupError"]
    assert ["error.type" in span.attributes for span in recorded.of("invoke_agent")] == [True]


@function_tool
def plain() -> str:
    """A tool whose exception the model is told."""
    raise LookupError("nothing")


@function_tool
@co.tool("decorated")
def decorated() -> str:
    """The same, and decorated."""
    raise LookupError("nothing")


@function_tool(failure_error_function=lambda _, error: f"sorry: {error}")
async def answered() -> str:
    """A tool with an answer of its own for the model."""
    raise LookupError("nothing")


@function_tool(timeout=0.01)
async def late() -> str:
    """A tool that takes too long."""
    await asyncio.sleep(60)


@pytest.mark.parametrize("tool", [plain, decorated, answered, late], ids=lambda tool: tool.name)
def test_a_tool_whose_exception_only_the_model_gets_has_failed(recorded, tool):
    """The model is told what it would be without us; the tool's one span and the report have the error."""

    def run():
        model = ScriptedModel([[call(tool.name)], [assistant_message("done")]])
        return outputs(Runner.run_sync(Agent(name=f"told {tool.name}", tools=[tool], model=model), "go"))

    co.uninstrument_agents()
    expected = run()
    co.instrument_agents()
    assert run() == expected
    *_, span = recorded.of("execute_tool")
    kind = "agents.exceptions.ToolTimeoutError" if tool is late else "LookupError"
    assert (span.attributes["error.type"], span.status.is_ok) == (kind, False)
    assert co.agent_report().to_dict()[f"told {tool.name}"]["self"]["errors"] == 1
    assert not any("error.type" in each.attributes for each in recorded.of("invoke_agent"))


@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_budget_that_is_exceeded_reaches_the_program(recorded, is_streamed):
    """As itself, although the SDK puts what leaves a tool into an exception of its own."""
    model = ScriptedModel([[function_call("answered", {}, call_id=each)] for each in "abc"])
    agent = Agent(name="frugal", tools=[answered], model=model)

    @co.agent("outer", budget=co.Budget(tool_calls=1))
    async def run():
        if not is_streamed:
            return await Runner.run(agent, "go")
        result = Runner.run_streamed(agent, "go")
        return [event async for event in result.stream_events()]

    with pytest.raises(co.BudgetExceeded, match="agent outer has used 2 of tool_calls=1"):
        asyncio.run(run())


def test_uninstrumenting_restores(unrecorded):
    """Afterwards the framework is as it was, and only what is decorated is recorded."""
    before = AgentRunner.run, SpanImpl.start
    co.instrument_agents()
    assert AgentRunner.run is not before[0]
    co.uninstrument_agents()
    assert (AgentRunner.run, SpanImpl.start) == before
    Runner.run_sync(team(), "go")
    assert unrecorded.tools() == [("read", None)]
    assert unrecorded.agents() == []


@pytest.mark.parametrize("is_traced", [True, False])
def test_uninstrumenting_while_an_agent_runs(recorded, is_traced):
    """What has begun ends as if nothing was put back."""

    @function_tool
    def search() -> str:
        co.uninstrument_agents()
        return "found"

    agent = Agent(
        name="planner", tools=[search], model=ScriptedModel([[call("search")], [assistant_message("done")]])
    )
    config = RunConfig(tracing_disabled=not is_traced)
    assert Runner.run_sync(agent, "go", run_config=config).final_output == "done"
    assert recorded.agents() == ["planner"]
    assert recorded.tools() == [("search", "planner")]
    assert recorded.around("search") == "planner"


def test_example(check_example):
    """The example of the page."""
    check_example("OpenAI Agents SDK")
