"""Google ADK: its agents and tools, inside the spans that it makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

from codoperf_otel._frameworks.recorded import Execution, recorded_in
from codoperf_otel._patching.replacing import Replacement

AGENTS = ("LlmAgent", "LoopAgent", "ParallelAgent", "SequentialAgent")


def replacements(module: ModuleType) -> Iterator[Replacement]:
    """What runs a tool, and what runs an agent of each kind."""
    if module.__name__ == "google.adk.flows.llm_flows.tools._caller":
        yield recorded_in(module, "_call_tool_async", _tool)
        return
    for name in AGENTS:
        if name in vars(module) and vars(module)[name].__module__ == module.__name__:
            yield recorded_in(vars(module)[name], "_run_async_impl", _agent)


def _agent(agent: Any, *_: Any, **__: Any) -> Execution:
    return Execution("agent", agent.name, "google-adk")


def _tool(tool: Any, *_: Any, **__: Any) -> Execution:
    return Execution("tool", tool.name, "google-adk")
