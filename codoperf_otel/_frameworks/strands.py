"""Strands Agents: its agents and tools, inside the spans that it makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

from codoperf_otel._frameworks.recorded import Execution, recorded_in
from codoperf_otel._frameworks.returned_failures import ToolError, recorded_with_failures
from codoperf_otel._patching.replacing import Replacement


def replacements(name: str, module: ModuleType) -> Iterator[Replacement]:
    """What runs the loop of an agent, and what runs a tool."""
    if name == "strands.agent.agent":
        yield recorded_in(module.Agent, "_run_loop", _agent)
    else:
        yield recorded_with_failures(module, "_run_tool", _tool, _failure)


def _agent(agent: Any, *_: Any, **__: Any) -> Execution:
    return Execution("agent", agent.name, "strands")


def _tool(context: Any, *_: Any, **__: Any) -> Execution | None:
    """A tool, unless the model has made it up."""
    return None if context.tool is None else Execution("tool", context.tool.tool_name, "strands")


def _failure(last: Any, *_: Any, **__: Any) -> Exception | None:
    """How a tool failed, as the event of its result tells; the other events have no result."""
    result = getattr(last, "tool_result", None)
    if result is None or result.get("status") != "error":
        return None
    error = last.exception
    return error if isinstance(error, Exception) else ToolError()
