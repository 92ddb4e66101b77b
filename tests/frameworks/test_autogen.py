"""AutoGen: what its assistants and tools take is on its own spans."""

from __future__ import annotations

import asyncio
import json

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.conditions import TextMentionTermination
from autogen_agentchat.teams import Swarm
from autogen_core import FunctionCall
from autogen_core.models import CreateResult, ModelFamily, RequestUsage
from autogen_core.tools import FunctionTool
from autogen_ext.models.replay import ReplayChatCompletionClient
from observed import BURNT, burn, check_tools, counted, failing, runs_of

import codoperf_otel as co

TOOLS = [("ask", "planner"), ("look", "reviewer"), ("read", "planner"), ("search", "planner")]
INFO = {
    "vision": False,
    "function_calling": True,
    "json_output": False,
    "structured_output": False,
    "family": ModelFamily.UNKNOWN,
}


def calls(**tools):
    """A model's calls of tools."""
    asked = [FunctionCall(id=name, name=name, arguments=json.dumps(given)) for name, given in tools.items()]
    return CreateResult(finish_reason="function_calls", content=asked, usage=RequestUsage(0, 0), cached=False)


def agent(name, tools, *answers, **options):
    """An agent whose model's answers are given."""
    model = ReplayChatCompletionClient(list(answers), model_info=INFO)
    return AssistantAgent(name, model, tools=tools, **options)


def tools(seconds):
    """Tools, one of which is a decorated function."""

    async def search() -> str:
        """Finds."""
        return burn(seconds)

    @co.tool("read")
    async def read() -> str:
        """Reads."""
        return burn(seconds)

    def look() -> str:
        """Looks."""
        return burn(seconds)

    return search, read, look


def team(seconds=0.01):
    """An agent with parallel tools, one of which asks another agent."""
    search, read, look = tools(seconds)
    reviewer = agent("reviewer", [look], calls(look={}))

    async def ask() -> str:
        """Asks."""
        return (await reviewer.run(task="look")).messages[-1].content

    return agent("planner", [search, read, ask], calls(search={}, read={}, ask={}))


ANSWER = "planner\nplanner\nreviewer"


def test_each_tool_has_its_agent_its_cpu_time_and_one_span(recorded):
    """Of parallel tools, decorated and plain, and of agents that are tools."""
    before = counted("read")
    assert asyncio.run(team(BURNT).run(task="go")).messages[-1].content == ANSWER
    assert recorded.agents() == ["planner", "reviewer"]
    check_tools(recorded, TOOLS, "search", "read", "look")
    assert {span.instrumentation_scope.name for span in recorded.of("execute_tool")} == {"autogen-core"}
    assert counted("read") - before == 1


def test_a_decorated_agent_around_one_of_the_same_name(recorded):
    """It is one run with one span."""
    before = runs_of("planner")
    asyncio.run(co.agent("planner")(team().run)(task="go"))
    assert runs_of("planner") - before == 1
    assert recorded.agents() == ["planner", "reviewer"]
    check_tools(recorded, TOOLS)


def test_agents_that_hand_over_to_each_other(recorded):
    """Each agent of a swarm has its own tools."""
    search, _, look = tools(0.01)
    planner = agent(
        "planner", [search], calls(search={}), calls(transfer_to_reviewer={}), handoffs=["reviewer"]
    )
    reviewer = agent("reviewer", [look], calls(look={}), "TERMINATE")
    swarm = Swarm([planner, reviewer], termination_condition=TextMentionTermination("TERMINATE"))
    assert asyncio.run(swarm.run(task="go")).messages[-1].content == "TERMINATE"
    found = recorded.without("transfer_to_reviewer")
    check_tools(found, [("look", "reviewer"), ("search", "planner")])


def test_a_tool_that_fails(recorded):
    """The agent goes on as without us, and the tool has failed."""

    async def search() -> str:
        """Finds."""
        raise LookupError("nothing")

    with failing(recorded, "search", "planner", "LookupError"):
        result = asyncio.run(agent("planner", [search], calls(search={})).run(task="go"))
    assert result.messages[-1].content == "nothing"


def test_uninstrumenting_restores(unrecorded):
    """Afterwards the framework is as it was; a decorated tool still shares its span."""
    before = AssistantAgent.on_messages_stream, FunctionTool.run
    co.instrument_agents()
    assert FunctionTool.run is not before[1]
    co.uninstrument_agents()
    assert (AssistantAgent.on_messages_stream, FunctionTool.run) == before
    asyncio.run(team().run(task="go"))
    assert unrecorded.tools() == TOOLS


def test_example(check_example):
    """The example of the page."""
    check_example("AutoGen")
