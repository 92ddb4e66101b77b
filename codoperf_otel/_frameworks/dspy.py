"""DSPy: its tools, and the modules that choose among them."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

from codoperf_otel._frameworks.recorded import Execution, recorded_in
from codoperf_otel._patching.replacing import Replacement


def replacements(name: str, module: ModuleType) -> Iterator[Replacement]:
    """What calls a tool, and what runs an agent."""
    if name == "dspy.adapters.types.tool":
        for method in ("__call__", "acall"):
            yield recorded_in(module.Tool, method, _tool)
    else:
        for method in ("forward", "aforward"):
            yield recorded_in(module.ReAct, method, _agent)


def _agent(agent: Any, **_: Any) -> Execution:
    return Execution("agent", type(agent).__name__, "dspy")


def _tool(tool: Any, **_: Any) -> Execution:
    return Execution("tool", tool.name, "dspy")
