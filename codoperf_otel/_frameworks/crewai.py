"""CrewAI: its agents and tools. The name of an agent is its role."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

from codoperf_otel._frameworks.recorded import Execution, recorded_in
from codoperf_otel._patching.replacing import Replacement


def replacements(name: str, module: ModuleType) -> Iterator[Replacement]:
    """What runs an agent's task, and a tool: one that the model calls, or one that it writes of."""
    if name == "crewai.agent.core":
        for method in ("execute_task", "aexecute_task"):
            yield recorded_in(module.Agent, method, _agent)
    elif name == "crewai.tools.structured_tool":
        for method in ("invoke", "ainvoke"):
            yield recorded_in(module.CrewStructuredTool, method, _tool)
    else:
        for kind in (module.BaseTool, module.Tool):
            for method in ("run", "arun"):
                yield recorded_in(kind, method, _tool)


def _agent(agent: Any, *_: Any, **__: Any) -> Execution:
    return Execution("agent", agent.role.strip(), "crewai")


def _tool(tool: Any, *_: Any, **__: Any) -> Execution:
    return Execution("tool", tool.name, "crewai")
