"""OpenAI's SDK: the functions that its tool runners call are recorded."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
import vendor
from observed import BURNT, burn, counted, is_burnt
from openai import AsyncOpenAI, OpenAI
from openai.lib.responses_tool_runner import (
    AsyncRegisteredFunction,
    AsyncResponsesToolRunner,
    RegisteredFunction,
    ResponsesToolRunner,
    ToolRunnerError,
)

import codoperf_otel as co

pytestmark = pytest.mark.usefixtures("vendors_variables")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "caching.md"
ASKED = {"model": "test", "input": "go"}
NO_ARGUMENTS = {"type": "object", "properties": {}, "additionalProperties": False}


def described(name):
    """A function as the model is told of it."""
    return {"type": "function", "name": name, "parameters": NO_ARGUMENTS, "strict": True}


def functions(seconds=0.01):
    """Functions, one of which is a decorated one."""

    def search(_):
        return burn(seconds)

    @co.tool("read")
    def read(_):
        return burn(seconds)

    return [
        RegisteredFunction(described("search"), search),
        RegisteredFunction(described("read"), read),
    ]


def answer(asked):
    """The answer after all calls of functions."""
    with OpenAI() as client:
        return ResponsesToolRunner(functions=asked).run(client, ASKED).output_text


def test_each_tool_has_its_cpu_time_and_one_span(recorded):
    """Of decorated functions and plain ones, and they have the agent of the program."""
    before = counted("read")
    with co.agent("planner"):
        assert answer(functions(BURNT)) == "done: planner, planner"
    assert recorded.tools() == [("read", "planner"), ("search", "planner")]
    assert is_burnt(*recorded.burnt("search"), *recorded.burnt("read"))
    assert counted("read") - before == 1


def test_asynchronous_functions_of_agents_at_once(recorded):
    """Each call has the agent that runs the runner."""

    async def search(_):
        await asyncio.sleep(0.01)
        return burn(BURNT)

    async def run(client, name):
        async with co.agent(name):
            asked = [AsyncRegisteredFunction(described("search"), search)]
            return (await AsyncResponsesToolRunner(functions=asked).run(client, ASKED)).output_text

    async def main():
        async with AsyncOpenAI() as client:
            return await asyncio.gather(run(client, "planner"), run(client, "reviewer"))

    assert asyncio.run(main()) == ["done: planner", "done: reviewer"]
    assert recorded.tools() == [("search", "planner"), ("search", "reviewer")]
    assert is_burnt(*recorded.burnt("search"))


def test_a_tool_that_fails(recorded):
    """The runner raises as without us, and the tool's span has the exception."""

    def search(_):
        raise LookupError("nothing")

    with pytest.raises(ToolRunnerError):
        answer([RegisteredFunction(described("search"), search)])
    assert [span.attributes["error.type"] for span in recorded.of("execute_tool")] == ["LookupError"]


MESSAGES = [{"role": "user", "content": "go"}]


@pytest.fixture
def recipes(monkeypatch, tmp_path):
    """The functions of the page on caching."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    section = PAGE.read_text().partition("\n## Model calls\n")[2].partition("\n## ")[0]
    known = {}
    for code in re.findall(r"```python\n(.*?)```", section, re.DOTALL):
        exec(code, known)
    return known


def test_recipes_of_cached_model_calls(recipes):
    """With the real client, each second call is a hit that saves time."""
    asks = (
        lambda: recipes["complete"]("test", MESSAGES),
        lambda: asyncio.run(recipes["complete_async"]("test", MESSAGES)),
        lambda: "".join(recipes["stream"]("test", MESSAGES)),
    )
    with co.agent("asker"):
        assert [ask() for ask in asks for _ in range(2)] == ["done: "] * 6
    used = co.agent_report().to_dict()["asker"]["self"]
    assert (used["cache_lookups"], used["cache_hits"]) == (6, 3)
    assert used["cache_saved_seconds"] > 0


def test_half_an_answer_is_not_kept(recipes, monkeypatch):
    """Where the stream ends before the answer does, the next call asks again."""
    path = "/v1/chat/completions"
    whole = vendor._STREAMS[path]
    with monkeypatch.context() as patch:
        patch.setitem(vendor._STREAMS, path, lambda answer: list(whole(answer))[:1])
        with pytest.raises(ConnectionError):
            list(recipes["stream"]("test", MESSAGES))
    assert "".join(recipes["stream"]("test", MESSAGES)) == "done: "


def test_uninstrumenting_restores(unrecorded):
    """Afterwards the SDK is as it was, and only what is decorated is recorded."""
    before = ResponsesToolRunner._execute_function
    co.instrument_agents()
    assert ResponsesToolRunner._execute_function is not before
    co.uninstrument_agents()
    assert ResponsesToolRunner._execute_function is before
    answer(functions())
    assert unrecorded.tools() == [("read", None)]


def test_example(check_example):
    """The example of the page."""
    check_example("OpenAI SDK")
