"""Anthropic's SDK: what the tools of its tool runner take is on its own spans."""

from __future__ import annotations

import asyncio

import pytest
from anthropic import Anthropic, AsyncAnthropic, beta_async_tool, beta_tool
from anthropic.lib.tools import BetaFunctionTool
from observed import BURNT, burn, counted, failing, is_burnt

import codoperf_otel as co

pytestmark = pytest.mark.usefixtures("vendors_variables")

ASKED = {"model": "test", "max_tokens": 100, "messages": [{"role": "user", "content": "go"}]}


def tools(seconds=0.01):
    """Tools, one of which is a decorated function."""

    @beta_tool
    def search() -> str:
        """Finds."""
        return burn(seconds)

    @beta_tool
    @co.tool("read")
    def read() -> str:
        """Reads."""
        return burn(seconds)

    return [search, read]


def answer(asked):
    """The answer after all calls of tools."""
    with Anthropic() as client:
        return client.beta.messages.tool_runner(tools=asked, **ASKED).until_done().content[0].text


def test_each_tool_has_its_cpu_time_and_one_span(recorded):
    """Of decorated tools and plain ones, and they have the agent of the program."""
    before = counted("read")
    with co.agent("planner"):
        assert answer(tools(BURNT)) == "done: planner, planner"
    assert recorded.tools() == [("read", "planner"), ("search", "planner")]
    assert is_burnt(*recorded.burnt("search"), *recorded.burnt("read"))
    assert counted("read") - before == 1


def test_asynchronous_tools(recorded):
    """They are recorded, too."""

    @beta_async_tool
    async def search() -> str:
        """Finds."""
        return burn(BURNT)

    async def run():
        async with AsyncAnthropic() as client:
            return await client.beta.messages.tool_runner(tools=[search], **ASKED).until_done()

    assert asyncio.run(run()).content[0].text == "done: None"
    assert recorded.tools() == [("search", None)]
    assert is_burnt(*recorded.burnt("search"))


def test_a_tool_that_fails(recorded):
    """The runner goes on as without us, and the tool has failed, by the SDK's word for it."""

    @beta_tool
    def search() -> str:
        """Finds."""
        raise LookupError("nothing")

    with failing(recorded, "search", "planner", "tool_error"), co.agent("planner"):
        assert "nothing" in answer([search])


def test_uninstrumenting_restores(unrecorded):
    """Afterwards the SDK is as it was; a decorated tool still shares its span."""
    before = BetaFunctionTool.call
    co.instrument_agents()
    assert BetaFunctionTool.call is not before
    co.uninstrument_agents()
    assert BetaFunctionTool.call is before
    answer(tools())
    assert ("read", None) in unrecorded.tools()


def test_example(check_example):
    """The example of the page."""
    check_example("Anthropic SDK")
