"""Agno: its agents, teams and tools."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

from codoperf_otel._frameworks.recorded import Execution, recorded_in
from codoperf_otel._frameworks.returned_failures import ToolError, recorded_with_failures
from codoperf_otel._patching.replacing import Replacement


def replacements(name: str, module: ModuleType) -> Iterator[Replacement]:
    """What runs an agent or a team, streamed or not, and what runs a tool."""
    if name == "agno.tools.function":
        for method in ("execute", "aexecute"):
            yield recorded_with_failures(module.FunctionCall, method, _tool, _failure)
    else:
        for function in ("_run", "_run_stream", "_arun", "_arun_stream"):
            yield recorded_in(module, function, _agent)


def _agent(agent: Any, *_: Any, **__: Any) -> Execution:
    return Execution("agent", agent.name or type(agent).__name__, "agno")


def _tool(call: Any) -> Execution:
    return Execution("tool", call.function.name, "agno")


def _failure(result: Any, _: Any) -> Exception | None:
    return ToolError(result.error) if result.status == "failure" else None
