"""Google ADK: what its agents and tools take is on its own spans."""

from __future__ import annotations

import asyncio

import pytest
from google.adk.agents import LlmAgent, SequentialAgent
from google.adk.flows.llm_flows.tools import _caller
from google.adk.models import BaseLlm, LlmResponse
from google.adk.runners import InMemoryRunner
from google.adk.tools.agent_tool import AgentTool
from google.genai.types import Content, FunctionCall, Part
from observed import BURNT, burn, check_tools, counted, failing, runs_of

import codoperf_otel as co

TOOLS = [("look", "reviewer"), ("read", "planner"), ("reviewer", "planner"), ("search", "planner")]
ADK = "gcp.vertex.agent"  # the scope of ADK's own spans and metrics
MERGED = "(merged tools)"  # a span of ADK's own beside those of parallel tools


class Scripted(BaseLlm):
    """A model whose answers are given: texts, or calls of tools with their arguments."""

    model: str = "scripted"
    answers: list

    async def generate_content_async(self, *_, **__):
        """The next answer."""
        answer = self.answers.pop(0)
        if isinstance(answer, str):
            parts = [Part(text=answer)]
        else:
            parts = [
                Part(function_call=FunctionCall(name=name, args=given)) for name, given in answer.items()
            ]
        yield LlmResponse(content=Content(role="model", parts=parts))


def agent(name, tools, *answers, **options):
    """An agent whose model's answers are given."""
    return LlmAgent(name=name, model=Scripted(answers=list(answers)), tools=tools, **options)


def tools(seconds):
    """Tools, one of which is a decorated function."""

    async def search() -> str:
        return burn(seconds)

    @co.tool("read")
    def read() -> str:
        return burn(seconds)

    def look() -> str:
        return burn(seconds)

    return search, read, look


def team(seconds=0.01):
    """An agent with parallel tools, one of which is another agent."""
    search, read, look = tools(seconds)
    reviewer = agent("reviewer", [look], {"look": {}}, "fine")
    asked = {"search": {}, "read": {}, "reviewer": {"request": "look"}}
    return agent("planner", [search, read, AgentTool(reviewer)], asked, "done")


def given(root):
    """What the tools gave, and the answers."""
    content = Content(role="user", parts=[Part(text="go")])

    async def run():
        runner = InMemoryRunner(root)
        session = await runner.session_service.create_session(app_name=runner.app_name, user_id="me")
        events = runner.run_async(user_id="me", session_id=session.id, new_message=content)
        return [part async for event in events for part in (event.content.parts if event.content else ())]

    parts = asyncio.run(run())
    results = [part.function_response.response.get("result") for part in parts if part.function_response]
    return [*results, *(part.text for part in parts if part.text)]


EXPECTED = ["planner", "planner", "fine", "done"]


def test_each_tool_has_its_agent_its_cpu_time_and_one_span(recorded):
    """Of parallel tools, decorated and plain, and of agents that are tools."""
    before = {tool: counted(tool, ADK) for tool in ("search", "read")}
    assert given(team(BURNT)) == EXPECTED
    assert recorded.agents() == ["planner", "reviewer"]
    check_tools(recorded.without(MERGED), TOOLS, "search", "read", "look")
    assert {span.instrumentation_scope.name for span in recorded.of("execute_tool")} == {ADK}
    assert [counted(tool, ADK) - before[tool] for tool in before] == [1, 1]
    assert [counted(tool) for tool in before] == [0, 0]  # else the convention's histograms had each twice


def test_a_decorated_agent_around_one_of_the_same_name(recorded):
    """It is one run. It has a span of its own, as there is one of ADK's workflow between the two."""
    before = runs_of("planner")
    assert co.agent("planner")(given)(team()) == EXPECTED
    assert runs_of("planner") - before == 1
    assert recorded.agents() == ["planner", "planner", "reviewer"]
    check_tools(recorded.without(MERGED), TOOLS)


def test_agents_that_hand_over_to_each_other(recorded):
    """Each agent has its own tools, where a model hands over and where the program does."""
    search, _, look = tools(0.01)
    transfer = {"transfer_to_agent": {"agent_name": "reviewer"}}
    reviewer = agent("reviewer", [look], {"look": {}}, "done")
    planner = agent("planner", [search], {"search": {}}, transfer, sub_agents=[reviewer])
    writer = agent("writer", [], "short")
    given(SequentialAgent(name="all", sub_agents=[planner, writer]))
    assert recorded.agents() == ["all", "planner", "reviewer", "writer"]
    check_tools(recorded.without("transfer_to_agent"), [("look", "reviewer"), ("search", "planner")])


def test_a_tool_that_fails(recorded):
    """The agent goes on where its program answers for the tool, which has failed all the same."""

    def search() -> str:
        raise LookupError("nothing")

    def told(**_):
        return {"result": "told"}

    planner = agent("planner", [search], {"search": {}}, "gave up", on_tool_error_callback=told)
    with failing(recorded, "search", "planner", "LookupError"):
        assert given(planner) == ["told", "gave up"]


def test_a_tool_whose_exception_leaves_the_run(recorded):
    """The program gets the tool's own exception."""

    def search() -> str:
        raise LookupError("nothing")

    with pytest.raises(LookupError, match="nothing"):
        given(agent("planner", [search], {"search": {}}))
    (span,) = recorded.of("execute_tool")
    assert span.attributes["error.type"] == "LookupError"


def test_a_tool_that_is_called_wrongly(recorded):
    """ADK tells the model, and the tool has failed."""

    def search(words: str) -> str:
        return words

    planner = agent("planner", [search], {"search": {}}, "gave up")
    with failing(recorded, "search", "planner", "TOOL_ERROR"):
        given(planner)


def test_uninstrumenting_restores(unrecorded):
    """Afterwards the framework is as it was."""
    before = LlmAgent._run_async_impl, _caller._call_tool_async
    co.instrument_agents()
    assert LlmAgent._run_async_impl is not before[0]
    co.uninstrument_agents()
    assert (LlmAgent._run_async_impl, _caller._call_tool_async) == before
    given(team())
    assert unrecorded.without(MERGED).tools() == TOOLS


def test_example(check_example):
    """The example of the page."""
    check_example("Google ADK")
