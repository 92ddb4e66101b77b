"""CrewAI: its agents and tools. The name of an agent is its role."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from codoperf_otel._frameworks.recorded import Execution, recorded_in
from codoperf_otel._patching.replacing import Replacement


def replacements(name: str, module: ModuleType) -> Iterator[Replacement]:
    """What runs an agent, in a crew or alone, and what runs a tool that its model calls or writes of."""
    if name == "crewai.agent.core":
        for method in ("execute_task", "aexecute_task", "kickoff_async"):
            yield recorded_in(module.Agent, method, _agent)
        yield recorded_in(module.Agent, "kickoff", functools.partial(_started, module))
    elif name == "crewai.lite_agent":
        yield recorded_in(module.LiteAgent, "kickoff", _agent)
    elif name == "crewai.tools.structured_tool":
        for method in ("invoke", "ainvoke"):
            yield recorded_in(module.CrewStructuredTool, method, _tool)
    else:
        for kind in (module.BaseTool, module.Tool):
            for method in ("run", "arun"):
                yield recorded_in(kind, method, _tool)


def _agent(agent: Any, *_: Any, **__: Any) -> Execution:
    return Execution("agent", agent.role.strip(), "crewai")


def _started(module: ModuleType, agent: Any, *_: Any, **__: Any) -> Execution | None:
    """On a running loop the agent is run by `kickoff_async`, whose coroutine is returned."""
    return None if module.is_inside_event_loop() else _agent(agent)


def _tool(tool: Any, *_: Any, **__: Any) -> Execution:
    return Execution("tool", tool.name, "crewai")
