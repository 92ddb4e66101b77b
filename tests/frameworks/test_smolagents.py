"""smolagents: agents and tools are recorded, of agents that call tools and of those that write code."""

from __future__ import annotations

import gc
import time

import pytest
from observed import BURNT, burn, check_tools, counted, failing
from smolagents import CodeAgent, Model, MultiStepAgent, Tool, ToolCallingAgent, tool
from smolagents.models import ChatMessage, ChatMessageToolCall, ChatMessageToolCallFunction, MessageRole

import codoperf_otel as co


class Scripted(Model):
    """A model whose answers are given: texts, or calls of tools with their arguments."""

    def __init__(self, *answers):
        super().__init__()
        self.answers = list(answers)

    def generate(self, *_, **__):
        """The next answer."""
        answer = self.answers.pop(0)
        if isinstance(answer, str):
            return ChatMessage(role=MessageRole.ASSISTANT, content=answer)
        calls = [
            ChatMessageToolCall(
                function=ChatMessageToolCallFunction(name=name, arguments=given), id=name, type="function"
            )
            for name, given in answer.items()
        ]
        return ChatMessage(role=MessageRole.ASSISTANT, content="", tool_calls=calls)


def tools(seconds):
    """Tools, one of which is a decorated function."""

    @tool
    def search() -> str:
        """Finds."""
        return burn(seconds)

    @tool
    def look() -> str:
        """Looks."""
        return burn(seconds)

    class Read(Tool):
        name, description, inputs, output_type = "read", "Reads.", {}, "string"

        @co.tool("read")
        def forward(self):
            return burn(seconds)

    return search, look, Read()


def team(seconds=0.01):
    """An agent with parallel tools, one of which is another agent."""
    search, look, read = tools(seconds)
    reviewer = ToolCallingAgent(
        tools=[look],
        model=Scripted({"look": {}}, {"final_answer": {"answer": "fine"}}),
        name="reviewer",
        description="Reviews.",
        verbosity_level=0,
    )
    answers = ({"search": {}, "read": {}, "reviewer": {"task": "look"}}, {"final_answer": {"answer": "done"}})
    return ToolCallingAgent(
        tools=[search, read],
        model=Scripted(*answers),
        name="planner",
        managed_agents=[reviewer],
        verbosity_level=0,
    )


TOOLS = [
    ("final_answer", "planner"),
    ("final_answer", "reviewer"),
    ("look", "reviewer"),
    ("read", "planner"),
    ("search", "planner"),
]


def test_each_tool_has_its_agent_its_cpu_time_and_one_span(recorded):
    """Of parallel tools in threads, decorated and plain, and of an agent that another one manages."""
    before = counted("read")
    assert team(BURNT).run("go") == "done"
    assert recorded.agents() == ["planner", "reviewer"]
    assert recorded.tools() == TOOLS
    check_tools(recorded.without("final_answer"), TOOLS[2:], "search", "read", "look")
    assert counted("read") - before == 1


def test_a_streamed_run(recorded):
    """It has the same agents and tools."""
    assert list(team().run("go", stream=True))[-1].output == "done"
    assert recorded.agents() == ["planner", "reviewer"]
    assert recorded.tools() == TOOLS


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it yields when it is closed
def test_a_stream_that_is_left_early(recorded):
    """Its run has ended, too."""
    for _ in team().run("go", stream=True):
        break
    gc.collect()
    (span,) = (span for span in recorded.spans if span.name == "invoke_agent planner")
    assert span.attributes["codoperf.outcome"] == "abandoned"


def test_what_an_agent_waits_for(recorded):
    """A run is blocked while its model answers."""

    class Slow(Scripted):
        def generate(self, *given, **options):
            time.sleep(0.1)
            return super().generate(*given, **options)

    model = Slow({"final_answer": {"answer": "done"}})
    assert ToolCallingAgent(tools=[], model=model, name="waits", verbosity_level=0).run("go") == "done"
    (waited,) = (each.waiting_seconds for each in co.agent_report().agents if each.name == "waits")
    assert waited > 0.09


def test_an_agent_that_writes_code(recorded):
    """The tools that its code calls are its own."""
    search, _, _ = tools(BURNT)
    code = "Thought: search\n<code>\nfinal_answer(search())\n</code>"
    agent = CodeAgent(tools=[search], model=Scripted(code), name="planner", verbosity_level=0)
    assert agent.run("go") == "planner"
    check_tools(recorded, [("final_answer", "planner"), ("search", "planner")], "search")


def test_a_tool_that_fails(recorded):
    """The agent goes on as without us, and the tool has failed."""

    @tool
    def search() -> str:
        """Finds."""
        raise LookupError("nothing")

    model = Scripted({"search": {}}, {"final_answer": {"answer": "gave up"}})
    with failing(recorded, "search", "ToolCallingAgent", "LookupError"):
        assert ToolCallingAgent(tools=[search], model=model, verbosity_level=0).run("go") == "gave up"
    assert recorded.agents() == ["ToolCallingAgent"]


def test_code_whose_tool_fails(recorded):
    """The same for an agent that writes code."""

    @tool
    def search() -> str:
        """Finds."""
        raise LookupError("nothing")

    codes = (f"Thought: so\n<code>\n{code}\n</code>" for code in ("search()", "final_answer('gave up')"))
    agent = CodeAgent(tools=[search], model=Scripted(*codes), name="planner", verbosity_level=0)
    with failing(recorded, "search", "planner", "LookupError"):
        assert agent.run("go") == "gave up"


def test_uninstrumenting_restores(unrecorded):
    """Afterwards the framework is as it was, and only what is decorated is recorded."""
    before = MultiStepAgent._run_stream, Tool.__call__
    co.instrument_agents()
    assert Tool.__call__ is not before[1]
    co.uninstrument_agents()
    assert (MultiStepAgent._run_stream, Tool.__call__) == before
    team().run("go")
    assert unrecorded.tools() == [("read", None)]


def test_example(check_example):
    """The example of the page."""
    check_example("smolagents")
