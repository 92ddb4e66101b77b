"""smolagents: its agents and tools."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

from codoperf_otel._frameworks.recorded import Execution, recorded_in
from codoperf_otel._patching.replacing import Replacement


def replacements(name: str, module: ModuleType) -> Iterator[Replacement]:
    """What runs an agent, its steps where they are streamed, and what calls a tool."""
    if name == "smolagents.agents":
        yield recorded_in(module.MultiStepAgent, "run", _whole_run)
        yield recorded_in(module.MultiStepAgent, "_run_stream", _agent)
    else:
        yield recorded_in(module.Tool, "__call__", _tool)


def _agent(agent: Any, *_: Any, **__: Any) -> Execution:
    return Execution("agent", agent.name or type(agent).__name__, "smolagents")


def _whole_run(agent: Any, _: Any = None, stream: bool = False, *__: Any, **___: Any) -> Execution | None:
    return None if stream else _agent(agent)


def _tool(tool: Any, *_: Any, **__: Any) -> Execution:
    return Execution("tool", tool.name, "smolagents")
