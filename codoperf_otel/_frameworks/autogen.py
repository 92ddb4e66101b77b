"""AutoGen: its assistants and function tools, inside the spans that it makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

from codoperf_otel._frameworks.recorded import Execution, recorded_in
from codoperf_otel._patching.replacing import Replacement


def replacements(name: str, module: ModuleType) -> Iterator[Replacement]:
    """What runs an assistant, and what runs a tool."""
    if name == "autogen_core.tools._function_tool":
        yield recorded_in(module.FunctionTool, "run", _tool)
    else:
        yield recorded_in(module.AssistantAgent, "on_messages_stream", _agent)


def _agent(agent: Any, *_: Any, **__: Any) -> Execution:
    return Execution("agent", agent.name, "autogen")


def _tool(tool: Any, *_: Any, **__: Any) -> Execution:
    return Execution("tool", tool.name, "autogen")
