"""CrewAI: agents and tools are recorded."""

from __future__ import annotations

import asyncio

import pytest
from crewai import Agent, BaseLLM, Crew, Task
from crewai.lite_agent import LiteAgent
from crewai.tools import BaseTool, tool
from observed import BURNT, burn, check_tools, counted, failing, runs_of

import codoperf_otel as co

pytestmark = pytest.mark.usefixtures("vendors_variables", "quiet")

TOOLS = [("look", "reviewer"), ("read", "planner"), ("search", "planner")]


@pytest.fixture
def quiet(monkeypatch):
    """CrewAI sends nothing."""
    for name in ("CREWAI_DISABLE_TELEMETRY", "OTEL_SDK_DISABLED", "CREWAI_DISABLE_TRACKING"):
        monkeypatch.setenv(name, "true")
    monkeypatch.setenv("CREWAI_TRACING_ENABLED", "false")


class Scripted(BaseLLM):
    """A model that writes which tool it wants to use, and its answer."""

    answers: list

    def call(self, *_, **__):
        """The next answer."""
        return self.answers.pop(0)

    def supports_function_calling(self):
        """It can only write."""
        return False


def agent(role, tools, llm="openai/gpt-4o-mini"):
    """An agent of that role."""
    return Agent(role=role, goal="work", backstory="worker", tools=tools, llm=llm)


def team(seconds=0.01):
    """Two agents, the second of which goes on with what the first has found."""

    @tool("search")
    def search() -> str:
        """Finds."""
        return burn(seconds)

    @tool("look")
    def look() -> str:
        """Looks."""
        return burn(seconds)

    class Read(BaseTool):
        name: str = "read"
        description: str = "Reads."

        @co.tool("read")
        def _run(self) -> str:
            return burn(seconds)

    agents = [agent("planner", [search, Read()]), agent("reviewer", [look])]
    tasks = [Task(description="go", expected_output="words", agent=each) for each in agents]
    return Crew(agents=agents, tasks=tasks)


def answers(crew):
    """What each agent says in the end: what its tools gave."""
    return [output.raw for output in crew.kickoff().tasks_output]


EXPECTED = ["done: planner, planner", "done: reviewer"]


def test_each_tool_has_its_agent_its_cpu_time_and_one_span(recorded):
    """Of parallel tools, decorated and plain, and of agents that hand over to each other."""
    before = counted("read")
    assert answers(team(BURNT)) == EXPECTED
    assert recorded.agents() == ["planner", "reviewer"]
    check_tools(recorded, TOOLS, "search", "read", "look")
    assert counted("read") - before == 1


WISH = "Thought: search\nAction: search\nAction Input: {}"
ANSWER = "Thought: so\nFinal Answer: done"


def alone(search, *said):
    """A crew of one agent with one tool, whose model writes this, if given."""
    model = Scripted(model="scripted", answers=list(said)) if said else "openai/gpt-4o-mini"
    planner = agent("planner", [search], model)
    return Crew(agents=[planner], tasks=[Task(description="go", expected_output="words", agent=planner)])


def test_a_model_that_writes_which_tool_to_use(recorded):
    """Its tools are recorded, too."""

    @tool("search")
    def search() -> str:
        """Finds."""
        return burn(BURNT)

    assert answers(alone(search, WISH, ANSWER)) == ["done"]
    check_tools(recorded, [("search", "planner")], "search")


async def on_a_loop(planner):
    """The answer of an agent that its program starts as if there were no loop."""
    return await planner.kickoff("go")


WAYS = {
    "kickoff": lambda planner: planner.kickoff("go"),
    "kickoff_async": lambda planner: asyncio.run(planner.kickoff_async("go")),
    "akickoff": lambda planner: asyncio.run(planner.akickoff("go")),
    "kickoff on a loop": lambda planner: asyncio.run(on_a_loop(planner)),
}


@pytest.mark.parametrize("way", WAYS)
def test_an_agent_without_a_crew(recorded, way):
    """It is one run, however it is started, and its tools are its own."""

    @tool("search")
    def search() -> str:
        """Finds."""
        return burn(BURNT)

    before = runs_of("planner")
    assert WAYS[way](agent("planner", [search])).raw == "done: planner"
    assert runs_of("planner") - before == 1
    assert recorded.agents() == ["planner"]
    check_tools(recorded, [("search", "planner")], "search")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("way", ["kickoff", "kickoff_async", "akickoff"])
def test_a_lite_agent(recorded, way):
    """The older kind of an agent without a crew is one run, too."""

    @tool("search")
    def search() -> str:
        """Finds."""
        return burn()

    model = Scripted(model="scripted", answers=[WISH, ANSWER])
    planner = LiteAgent(role="planner", goal="work", backstory="worker", tools=[search], llm=model)
    assert WAYS[way](planner).raw == "done"
    assert recorded.agents() == ["planner"]
    check_tools(recorded, [("search", "planner")])


@pytest.mark.parametrize("said", [(), (WISH, ANSWER)])
def test_a_tool_that_fails(recorded, said):
    """The agent goes on as without us, and the tool has failed, called by the model or written of."""
    tries = []

    @tool("search")
    def search() -> str:
        """Finds."""
        tries.append(1)
        if len(tries) == 1:
            raise LookupError("nothing")
        return "found"

    with failing(recorded, "search", "planner", "LookupError"):
        (answer,) = answers(alone(search, *said))
    assert answer.startswith("done")


def test_uninstrumenting_restores(unrecorded):
    """Afterwards the framework is as it was, and only what is decorated is recorded."""
    before = Agent.execute_task, BaseTool.run
    co.instrument_agents()
    assert BaseTool.run is not before[1]
    co.uninstrument_agents()
    assert (Agent.execute_task, BaseTool.run) == before
    answers(team())
    assert unrecorded.tools() == [("read", None)]


def test_example(check_example):
    """The example of the page."""
    check_example("CrewAI")
