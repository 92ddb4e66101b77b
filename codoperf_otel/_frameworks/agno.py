"""Agno: its agents, teams and tools."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

from codoperf_otel._frameworks.recorded import Execution, recorded_in
from codoperf_otel._patching.replacing import Replacement


def replacements(name: str, module: ModuleType) -> Iterator[Replacement]:
    """What runs an agent or a team, streamed or not, and what runs a tool."""
    if name == "agno.tools.function":
        for method in ("execute", "aexecute"):
            yield recorded_in(module.FunctionCall, method, _tool)
    else:
        for function in ("_run", "_run_stream", "_arun", "_arun_stream"):
            yield recorded_in(module, function, _agent)


def _agent(agent: Any, *_: Any, **__: Any) -> Execution:
    return Execution("agent", agent.name or type(agent).__name__, "agno")


def _tool(call: Any) -> Execution:
    return Execution("tool", call.function.name, "agno")
