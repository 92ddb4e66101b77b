"""Claude Agent SDK: its agents and tools are recorded, with the real program that it starts."""

from __future__ import annotations

import asyncio

import pytest
from claude_agent_sdk import (
    ClaudeAgentOptions,
    ClaudeSDKClient,
    ResultMessage,
    SdkMcpTool,
    create_sdk_mcp_server,
    query,
    tool,
)
from claude_agent_sdk._internal.client import InternalClient
from observed import BURNT, CPU, burn, check_tools, counted, failing, runs_of

import codoperf_otel as co

CHILD_CPU = "codoperf.cpu.child_process_time"


@pytest.fixture(autouse=True)
def alone(vendors_variables, monkeypatch, tmp_path):
    """The program asks the local server, and has a home of its own."""
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path / "home"))
    monkeypatch.setenv("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def said(text):
    """What a tool returns."""
    return {"content": [{"type": "text", "text": text}]}


def tools(seconds=0.01):
    """Tools, one of which is a decorated function."""

    @tool("search", "Finds.", {})
    async def search(_):
        return said(burn(seconds))

    @tool("read", "Reads.", {})
    @co.tool("read")
    async def read(_):
        return said(burn(seconds))

    return [search, read]


def options(asked, **more):
    """Options by which the model may call these tools only."""
    server = create_sdk_mcp_server("ours", tools=asked)
    allowed = [f"mcp__ours__{each.name}" for each in asked]
    return ClaudeAgentOptions(
        tools=[], mcp_servers={"ours": server}, allowed_tools=allowed, setting_sources=[], **more
    )


async def answers(messages):
    """The answers among the messages."""
    return [message.result async for message in messages if isinstance(message, ResultMessage)]


def answer(asked, **more):
    """The answer to a query."""
    return asyncio.run(answers(query(prompt="go", options=options(asked, **more))))


TOOLS = [("read", "claude"), ("search", "claude")]


def test_each_tool_has_its_agent_its_cpu_time_and_one_span(recorded):
    """Of decorated tools and plain ones, and the agent has the CPU time of the program."""
    before = counted("read")
    assert answer(tools(BURNT)) == ["done: claude, claude"]
    assert recorded.agents() == ["claude"]
    check_tools(recorded, TOOLS, "search", "read")
    assert counted("read") - before == 1
    (span,) = recorded.of("invoke_agent")
    assert span.attributes[CHILD_CPU] > 0.1
    assert CPU in span.attributes


def test_a_decorated_agent_around_one_of_the_same_name(recorded):
    """It is one run with one span."""
    before = runs_of("claude")
    assert co.agent("claude")(answer)(tools()) == ["done: claude, claude"]
    assert runs_of("claude") - before == 1
    assert recorded.agents() == ["claude"]
    check_tools(recorded, TOOLS)


def test_agents_at_once(recorded):
    """Each query has its own agent, by the name that its program is told."""

    async def run():
        asked = (query(prompt="go", options=options(tools(), extra_args={"agent": name})) for name in "ab")
        return await asyncio.gather(*map(answers, asked))

    assert asyncio.run(run()) == [["done: a, a"], ["done: b, b"]]
    assert recorded.agents() == ["a", "b"]
    assert recorded.tools() == [("read", "a"), ("read", "b"), ("search", "a"), ("search", "b")]


def test_a_client(recorded):
    """While it is connected, it is an agent, and what the program does meanwhile counts for it."""

    async def run():
        async with ClaudeSDKClient(options(tools(BURNT))) as client:
            await client.query("go")
            assert co.current_agent() == "claude"
            return await answers(client.receive_response())

    assert asyncio.run(run()) == ["done: claude, claude"]
    assert co.current_agent() is None
    assert recorded.agents() == ["claude"]
    check_tools(recorded, TOOLS, "search", "read")
    assert recorded.of("invoke_agent")[0].attributes[CHILD_CPU] > 0.1


def test_uninstrumenting_while_a_client_is_connected(recorded):
    """Its run ends all the same."""

    async def run():
        async with ClaudeSDKClient(options(tools())) as client:
            co.uninstrument_agents()
            await client.query("go")
            return await answers(client.receive_response())

    assert asyncio.run(run()) == ["done: claude, claude"]
    assert co.current_agent() is None
    assert recorded.agents() == ["claude"]


def test_a_client_that_cannot_connect(recorded):
    """The program gets the SDK's exception, and no agent is left in force."""

    async def run():
        asked = ClaudeAgentOptions(cli_path="/nowhere/claude")
        with pytest.raises(Exception, match="nowhere"):
            await ClaudeSDKClient(asked).connect()
        assert co.current_agent() is None

    asyncio.run(run())
    assert [span.status.is_ok for span in recorded.of("invoke_agent")] == [False]


async def raise_nothing(_):
    """A tool that raises."""
    raise LookupError("nothing")


async def say_nothing(_):
    """A tool that says it has failed."""
    return {**said("nothing"), "is_error": True}


@pytest.mark.parametrize("search", [raise_nothing, say_nothing])
def test_a_tool_that_fails(recorded, search):
    """The agent goes on as without us, and the tool has failed, by the word of MCP's SDK."""
    with failing(recorded, "search", "claude", "tool_error"):
        assert answer([tool("search", "Finds.", {})(search)]) == ["done: nothing"]


def test_uninstrumenting_restores(unrecorded):
    """Afterwards the SDK is as it was, and only what is decorated is recorded."""
    before = InternalClient.process_query, ClaudeSDKClient.connect
    made = tools()
    handler = made[0].handler
    co.instrument_agents()
    assert made[0].handler is not handler
    co.uninstrument_agents()
    assert made[0].handler is handler
    assert (InternalClient.process_query, ClaudeSDKClient.connect) == before
    assert not hasattr(SdkMcpTool, "handler")
    answer(made)
    assert unrecorded.agents() == []
    assert ("read", None) in unrecorded.tools()


def test_example(check_example):
    """The example of the page."""
    check_example("Claude Agent SDK")
