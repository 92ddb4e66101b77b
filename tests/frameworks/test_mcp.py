"""MCP: what a tool of a server takes is on the span that the SDK makes of it."""

from __future__ import annotations

import asyncio

import pytest
from mcp import Client
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.tools.base import Tool
from mcp_types import CallToolResult, TextContent
from observed import BURNT, burn, counted, failing, is_burnt

import codoperf_otel as co


def served(seconds=0.01):
    """A server with tools."""
    server = MCPServer("files")

    @server.tool()
    async def search() -> str:
        return burn(seconds)

    @server.tool()
    @co.tool("read")
    def read() -> str:
        return burn(seconds)

    @server.tool()
    def fail() -> str:
        raise LookupError("nothing")

    @server.tool()
    def refuse() -> CallToolResult:
        return CallToolResult(content=[TextContent(type="text", text="nothing")], is_error=True)

    return server


async def called(server, *names):
    """What tools give, all of them called at once."""
    async with Client(server) as client:
        results = await asyncio.gather(*(client.call_tool(name, {}) for name in names))
    return [result.content[0].text for result in results]


def test_each_tool_has_its_cpu_time_and_one_span(recorded):
    """It is the SDK's own span, for decorated tools and for plain ones."""
    before = counted("read")
    assert asyncio.run(called(served(BURNT), "search", "read")) == ["None", "None"]
    spans = recorded.of("execute_tool")
    assert sorted(span.name for span in spans) == ["tools/call read", "tools/call search"]
    assert {span.instrumentation_scope.name for span in spans} == {"mcp-python-sdk"}
    assert is_burnt(*recorded.burnt("search"), *recorded.burnt("read"))
    assert counted("read") - before == 1


@pytest.mark.parametrize(("name", "told"), [("fail", "Error executing tool fail"), ("refuse", "nothing")])
def test_a_tool_that_fails(recorded, name, told):
    """The client is told what it is told without us, and the tool has failed, by the SDK's word for it."""
    with failing(recorded, name, "planner", "tool_error"), co.agent("planner"):
        assert asyncio.run(called(served(), name)) == [told]


def test_a_tool_that_is_not_there(recorded):
    """What a client makes up is counted nowhere."""
    asyncio.run(called(served(), "no-such-tool"))
    assert counted("no-such-tool") == 0


def test_the_agent_of_the_client(recorded):
    """A server in the same process knows which agent calls its tool."""

    @co.agent("planner")
    async def plan():
        return await called(served(), "search")

    assert asyncio.run(plan()) == ["planner"]
    assert recorded.tools() == [("search", "planner")]


def test_uninstrumenting_restores(unrecorded):
    """Afterwards the SDK is as it was. A decorated tool still shares the SDK's span."""
    before = Tool.run
    co.instrument_agents()
    assert Tool.run is not before
    co.uninstrument_agents()
    assert Tool.run is before
    asyncio.run(called(served(), "search", "read"))
    assert unrecorded.tools() == [("read", None), ("search", None)]


def test_example(check_example):
    """The example of the page."""
    check_example("MCP")
