"""LangChain and LangGraph: agents, graphs and tools are recorded."""

from __future__ import annotations

import asyncio

import pytest
from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool, StructuredTool, ToolException, tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import create_react_agent
from langgraph.pregel import Pregel
from observed import BURNT, burn, check_tools, counted, cpu_of

import codoperf_otel as co

TOOLS = [("ask", "planner"), ("look", "reviewer"), ("read", "planner"), ("search", "planner")]


class Scripted(GenericFakeChatModel):
    """A model whose answers are given."""

    def bind_tools(self, *_, **__):
        """It knows which tools to call."""
        return self


def calls(*names):
    """An answer that calls tools."""
    return AIMessage("", tool_calls=[{"name": name, "args": {}, "id": name} for name in names])


def agent(name, tools, make=create_agent):
    """An agent that calls its tools at once, and then answers."""
    model = Scripted(messages=iter([calls(*(each.name for each in tools)), AIMessage(f"{name} is done")]))
    return make(model, tools, name=name)


def team(seconds=0.01, **options):
    """An agent with parallel tools, one of which asks another agent."""

    @tool
    def search() -> str:
        """Finds."""
        return burn(seconds)

    @tool
    @co.tool("read")
    def read() -> str:
        """Reads."""
        return burn(seconds)

    @tool
    def look() -> str:
        """Looks."""
        return burn(seconds)

    reviewer = agent("reviewer", [look], **options)

    @tool
    def ask() -> str:
        """Asks."""
        return reviewer.invoke({"messages": "look"})["messages"][-1].content

    return agent("planner", [search, read, ask], **options)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_tool_whose_exception_only_the_model_gets_has_failed(recorded, is_async):
    """The tool itself answers for it; the message is what it is without us."""

    def search() -> str:
        raise ToolException("nothing")

    made = StructuredTool.from_function(search, description="Finds.", handle_tool_error=True)
    asked = {"name": "search", "args": {}, "id": "1", "type": "tool_call"}
    with co.agent("told"):
        found = asyncio.run(made.ainvoke(asked)) if is_async else made.invoke(asked)
    assert (found.content, found.status) == ("nothing", "error")
    (span,) = recorded.of("execute_tool")
    assert span.attributes["error.type"] == "ToolError"
    assert "nothing" not in span.to_json()


def given(result):
    """What the tools gave, and the answer."""
    return [message.content for message in result["messages"][2:]]


EXPECTED = ["planner", "planner", "reviewer is done", "planner is done"]


@pytest.mark.parametrize("make", [create_agent, create_react_agent])
def test_each_tool_has_its_agent_its_cpu_time_and_one_span(recorded, make):
    """Of parallel tools in threads, decorated and plain, and of agents that are tools."""
    before = counted("read")
    assert given(team(BURNT, make=make).invoke({"messages": "go"})) == EXPECTED
    assert recorded.agents() == ["planner", "reviewer"]
    check_tools(recorded, TOOLS, "search", "read", "look")
    assert counted("read") - before == 1


def test_asynchronous_and_streamed_runs(recorded):
    """They have the same agents and tools."""

    async def run():
        chunks = [chunk async for chunk in team().astream({"messages": "go"}, stream_mode="values")]
        return given(await team().ainvoke({"messages": "go"})), given(chunks[-1])

    assert asyncio.run(run()) == (EXPECTED, EXPECTED)
    assert recorded.agents() == ["planner", "planner", "reviewer", "reviewer"]
    assert recorded.tools() == sorted(TOOLS * 2)


def test_an_asynchronous_tool(recorded):
    """Its CPU time is on its span, and counts for its agent, though LangChain runs it as a task."""

    @tool
    async def search() -> str:
        """Finds."""
        found = burn(BURNT / 2)
        await asyncio.sleep(0)
        return found + burn(BURNT / 2)

    before = cpu_of("planner")
    asyncio.run(agent("planner", [search]).ainvoke({"messages": "go"}))
    check_tools(recorded, [("search", "planner")], "search")
    assert cpu_of("planner") - before >= BURNT


def test_a_graph_of_agents_is_a_workflow(recorded):
    """Agents that hand over to each other in a graph are invocations in it."""

    @tool
    def look() -> str:
        """Looks."""
        return burn()

    @tool
    def search() -> str:
        """Finds."""
        return burn()

    graph = StateGraph(MessagesState)
    graph.add_node("planner", agent("planner", [search]))
    graph.add_node("reviewer", agent("reviewer", [look]))
    graph.add_edge(START, "planner")
    graph.add_edge("planner", "reviewer")
    result = graph.compile(name="review").invoke({"messages": "go"})
    assert given(result) == ["planner", "planner is done", "", "reviewer", "reviewer is done"]
    assert [span.name for span in recorded.of("invoke_workflow")] == ["invoke_workflow review"]
    check_tools(recorded, [("look", "reviewer"), ("search", "planner")])


def test_a_tool_that_fails(recorded):
    """The program gets the tool's own exception, and the spans have it."""

    @tool
    def search() -> str:
        """Finds."""
        raise LookupError("nothing")

    with pytest.raises(LookupError, match="nothing"):
        agent("planner", [search]).invoke({"messages": "go"})
    failed = [*recorded.of("execute_tool"), *recorded.of("invoke_agent")]
    assert [span.attributes["error.type"] for span in failed] == ["LookupError"] * 2


def test_uninstrumenting_restores(unrecorded):
    """Afterwards the framework is as it was, and only what is decorated is recorded."""
    before = Pregel.invoke, Pregel.astream, BaseTool.run
    co.instrument_agents()
    assert Pregel.invoke is not before[0]
    co.uninstrument_agents()
    assert (Pregel.invoke, Pregel.astream, BaseTool.run) == before
    team().invoke({"messages": "go"})
    assert unrecorded.tools() == [("read", None)]


def test_example(check_example):
    """The example of the page."""
    check_example("LangChain and LangGraph")
