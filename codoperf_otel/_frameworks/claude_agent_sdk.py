"""Claude Agent SDK: its agents, and the tools that they have in this process.

A query is a run of an agent, and so is a client while it is connected. What the agent does by itself, it does
in the program that the SDK starts, which is a child process of the run.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from codoperf_otel._calls.foreign_code import failed
from codoperf_otel._decorating import OperationScope
from codoperf_otel._frameworks.recorded import Execution, block, recorded_in
from codoperf_otel._frameworks.returned_failures import ToolError, with_failures
from codoperf_otel._patching.replacing import ABSENT, Replacement

ORIGIN = "claude-agent-sdk"


def replacements(name: str, module: ModuleType) -> Iterator[Replacement]:
    """What runs a query, what begins a client's connection, and what a tool is made of."""
    if name == "claude_agent_sdk":
        yield Replacement(module.SdkMcpTool, "handler", ABSENT, property(_handler, _set_handler))
    elif name == "claude_agent_sdk.client":
        client = module.ClaudeSDKClient
        yield Replacement(client, "connect", client.connect, _connecting(client.connect))
    else:
        yield recorded_in(module.InternalClient, "process_query", _query)


def _handler(tool: Any) -> Callable[..., Any]:
    """A tool's function, wherever it is taken from the tool to be called."""
    execution = Execution("tool", tool.name, ORIGIN)
    return with_failures(vars(tool)["handler"], lambda *_: execution, _failure)


def _failure(result: Any, _: Any) -> Exception | None:
    """How a tool failed that does not raise, but says so in what it returns."""
    return ToolError() if isinstance(result, dict) and result.get("is_error") else None


def _set_handler(tool: Any, handler: Callable[..., Any]) -> None:
    vars(tool)["handler"] = handler


def _query(*_: Any, options: Any, **__: Any) -> Execution:
    return _agent(options)


def _agent(options: Any) -> Execution:
    """The agent that the program is told to be. It has no name otherwise."""
    return Execution("agent", options.extra_args.get("agent") or "claude", ORIGIN)


def _connecting(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def connect(client: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            _begin(client)
        except Exception as error:
            failed("an agent of the Claude Agent SDK is not recorded", error)
        return await original(client, *args, **kwargs)  # the SDK disconnects if it fails

    return connect


def _begin(client: Any) -> None:
    """Begin a run, which the client ends itself: also after its SDK was put back."""
    if "disconnect" not in vars(client):
        scope = block(_agent(client.options)).__enter__()
        client.disconnect = functools.partial(_disconnect, client, scope, sys.exc_info()[1])


async def _disconnect(client: Any, scope: OperationScope, before: BaseException | None) -> Any:
    """End it: an exception that is handled now, and was not at its begin, is how it failed."""
    del client.disconnect
    try:
        return await client.disconnect()
    finally:
        error = sys.exc_info()[1]
        scope.__exit__(None, None if error is before else error, None)
