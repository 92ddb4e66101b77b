"""LlamaIndex: agents, workflows and tools are recorded."""

from __future__ import annotations

import asyncio

import pytest
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent, ReActAgent
from llama_index.core.base.llms.types import ToolCallBlock
from llama_index.core.llms import ChatMessage
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.tools import FunctionTool
from observed import BURNT, burn, check_tools, counted, failing
from workflows import Workflow, step
from workflows.errors import WorkflowCancelledByUser
from workflows.events import StartEvent, StopEvent
from workflows.runtime.control_loop.runner import _ControlLoopRunner

import codoperf_otel as co


def model(*answers):
    """A model whose answers are given: texts, or calls of tools with their arguments."""
    left = list(answers)

    def generate(*_, **__):
        answer = left.pop(0)
        if isinstance(answer, str):
            return ChatMessage(role="assistant", content=answer)
        calls = [
            ToolCallBlock(tool_name=name, tool_kwargs=given, tool_call_id=name)
            for name, given in answer.items()
        ]
        return ChatMessage(role="assistant", blocks=calls)

    return MockFunctionCallingLLM(response_generator=generate)


def agent(name, tools, *answers, **options):
    """An agent whose model's answers are given."""
    return FunctionAgent(name=name, description=name, tools=tools, llm=model(*answers), **options)


def tools(seconds=0.01):
    """Tools, one of which is a decorated function."""

    async def search() -> str:
        """Finds."""
        return burn(seconds)

    @co.tool("read")
    def read() -> str:
        """Reads."""
        return burn(seconds)

    def look() -> str:
        """Looks."""
        return burn(seconds)

    return [
        FunctionTool.from_defaults(search),
        FunctionTool.from_defaults(read),
        FunctionTool.from_defaults(look),
    ]


def planner(seconds=0.01):
    """An agent with parallel tools, one of which asks another agent."""
    search, read, look = tools(seconds)
    reviewer = agent("reviewer", [look], {"look": {}}, "fine")

    async def ask() -> str:
        """Asks the reviewer."""
        return str(await reviewer.run("look"))

    return agent(
        "planner",
        [search, read, FunctionTool.from_defaults(ask)],
        {"search": {}, "read": {}, "ask": {}},
        "done",
    )


TOOLS = [("ask", "planner"), ("look", "reviewer"), ("read", "planner"), ("search", "planner")]


def given(asked):
    """The answer, and what each tool gave."""

    async def run():
        handler = asked.run("go")
        found = [
            (event.tool_name, event.tool_output.content)
            async for event in handler.stream_events()
            if type(event).__name__ == "ToolCallResult"
        ]
        return str(await handler), dict(found)

    return asyncio.run(run())


def test_each_tool_has_its_agent_its_cpu_time_and_one_span(recorded):
    """Of parallel tools, decorated and plain, and of an agent that a tool asks."""
    before = counted("read")
    assert given(planner(BURNT)) == ("done", {"search": "planner", "read": "planner", "ask": "fine"})
    assert recorded.agents() == ["planner", "reviewer"]
    check_tools(recorded, TOOLS, "search", "read", "look")
    assert counted("read") - before == 1


def handing_over(seconds=0.01):
    """Two agents that hand over to each other, and back."""
    search, read, look = tools(seconds)
    to = {name: {"handoff": {"to_agent": name, "reason": "x"}} for name in ("planner", "reviewer")}
    asked = {"search": {}, "read": {}}
    first = agent("planner", [search, read], asked, to["reviewer"], "done", can_handoff_to=["reviewer"])
    second = agent("reviewer", [look], {"look": {}}, to["planner"], can_handoff_to=["planner"])
    return AgentWorkflow(agents=[first, second], root_agent="planner")


def test_agents_that_hand_over_to_each_other(recorded):
    """Each agent has its own tools, and the run of them all is a workflow."""
    answer, found = given(handing_over(BURNT))
    assert answer == "done"
    assert (found["search"], found["read"], found["look"]) == ("planner", "planner", "reviewer")
    assert recorded.agents() == ["planner", "planner", "reviewer"]
    assert [span.name for span in recorded.of("invoke_workflow")] == ["invoke_workflow AgentWorkflow"]
    assert [tool for tool in recorded.tools() if tool[0] == "handoff"] == [
        ("handoff", "planner"),
        ("handoff", "reviewer"),
    ]
    check_tools(recorded.without("handoff"), TOOLS[1:], "search", "read", "look")


def test_runs_at_once(recorded):
    """Each of several runs on one loop has its own agents and tools."""

    async def run():
        return await asyncio.gather(*(handing_over().run("go") for _ in range(3)))

    assert [str(result) for result in asyncio.run(run())] == ["done"] * 3
    assert recorded.agents() == ["planner"] * 6 + ["reviewer"] * 3
    assert recorded.without("handoff").tools() == sorted(TOOLS[1:] * 3)


def test_an_agent_that_reasons_in_text(recorded):
    """Its tools are recorded, too."""
    search, _, _ = tools(BURNT)
    answers = "Thought: look\nAction: search\nAction Input: {}", "Thought: I can answer\nAnswer: done"
    asked = ReActAgent(name="planner", tools=[search], llm=model(*answers), streaming=False)
    assert given(asked) == ("done", {"search": "planner"})
    check_tools(recorded, [("search", "planner")], "search")


def test_a_tool_that_fails(recorded):
    """The agent goes on as without us, and the tool has failed."""

    def search() -> str:
        """Finds."""
        raise LookupError("nothing")

    planner = agent("planner", [FunctionTool.from_defaults(search)], {"search": {}}, "gave up")
    with failing(recorded, "search", "planner", "LookupError"):
        assert given(planner)[0] == "gave up"


def test_a_model_that_fails(recorded):
    """The program gets its exception, and the spans of the agent and of the workflow have it."""
    failing = AgentWorkflow(agents=[agent("planner", [])])  # its model has no answer
    with pytest.raises(IndexError):
        given(failing)
    ended = [*recorded.of("invoke_agent"), *recorded.of("invoke_workflow")]
    assert [span.attributes["error.type"] for span in ended] == ["IndexError"] * 2


def test_a_run_that_is_cancelled(recorded):
    """Its spans end, and nothing is left running."""

    async def run():
        started = asyncio.Event()

        async def search() -> str:
            """Waits."""
            started.set()
            await asyncio.sleep(60)

        asked = agent("planner", [FunctionTool.from_defaults(search)], {"search": {}})
        handler = AgentWorkflow(agents=[asked]).run("go")
        async with asyncio.timeout(30):
            await started.wait()
            await handler.cancel_run()
            with pytest.raises(WorkflowCancelledByUser):
                await handler
            while left := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(left)

    asyncio.run(run())
    assert recorded.agents() == ["planner"]
    assert recorded.tools() == [("search", "planner")]


def test_a_workflow_of_ones_own(recorded):
    """It is a workflow by the name of its class, and what it runs is within."""

    class Flow(Workflow):
        @step
        async def begin(self, ev: StartEvent) -> StopEvent:
            return StopEvent(result=(await planner().run("go")).response.content)

    async def run():
        return await Flow().run()

    assert asyncio.run(run()) == "done"
    assert [span.name for span in recorded.of("invoke_workflow")] == ["invoke_workflow Flow"]
    check_tools(recorded, TOOLS)


def test_uninstrumenting_restores(unrecorded):
    """Afterwards the framework is as it was, and only what is decorated is recorded."""
    before = _ControlLoopRunner.run, FunctionTool.acall, AgentWorkflow.call_tool
    co.instrument_agents()
    assert AgentWorkflow.call_tool is not before[2]
    co.uninstrument_agents()
    assert (_ControlLoopRunner.run, FunctionTool.acall, AgentWorkflow.call_tool) == before
    given(handing_over())
    assert unrecorded.tools() == [("read", None)]
    assert unrecorded.agents() == []


def test_example(check_example):
    """The example of the page."""
    check_example("LlamaIndex")
