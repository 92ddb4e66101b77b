"""Google ADK: its agents and tools, inside the spans that it makes of them.

It records the convention's histograms of agents and tools itself.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from codoperf_otel._frameworks.recorded import Execution, recorded_in
from codoperf_otel._frameworks.returned_failures import ToolError, recorded_with_failures
from codoperf_otel._patching.replacing import Replacement

AGENTS = ("LlmAgent", "LoopAgent", "ParallelAgent", "SequentialAgent")


def replacements(name: str, module: ModuleType) -> Iterator[Replacement]:
    """What runs a tool, and what runs an agent of each kind."""
    if name == "google.adk.flows.llm_flows.tools._caller":
        yield recorded_with_failures(module, "_call_tool_async", _tool, _failure)
        return
    for kind in map(vars(module).get, AGENTS):
        if kind is not None and kind.__module__ == name:
            yield recorded_in(kind, "_run_async_impl", _agent)


def _agent(agent: Any, *_: Any, **__: Any) -> Execution:
    return Execution("agent", agent.name, "google-adk", _is_timed())


def _tool(tool: Any, *_: Any, **__: Any) -> Execution:
    return Execution("tool", tool.name, "google-adk", _is_timed())


def _failure(result: Any, /, tool: Any, args: Any, tool_context: Any) -> Exception | None:  # noqa: ARG001
    """How a tool failed, by what it returns, as ADK's own telemetry tells it."""
    handler = sys.modules["google.adk.flows.llm_flows.tools._error_handler"]
    return ToolError() if handler.detect_error_type_for_telemetry(tool, tool_context, result) else None


def _is_timed() -> bool:
    """Whether this release has histograms of its own."""
    return hasattr(sys.modules.get("google.adk.telemetry._metrics"), "_tool_execution_duration")
