"""Microsoft Agent Framework: its agents and tools, inside the spans that it makes of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from codoperf_otel._frameworks.recorded import Execution, call_as, recorded_in
from codoperf_otel._patching.replacing import Replacement

ORIGIN = "agent-framework"


def replacements(name: str, module: ModuleType) -> Iterator[Replacement]:
    """What runs a tool's function, and what an agent's span is put around."""
    if name == "agent_framework._tools":
        yield recorded_in(module.FunctionTool, "_invoke_function", _tool)
    else:
        layer = module.AgentTelemetryLayer
        original = layer._trace_agent_invocation
        yield Replacement(layer, "_trace_agent_invocation", original, _recording(original))


def _tool(tool: Any, *_: Any, **__: Any) -> Execution:
    return Execution("tool", tool.name, ORIGIN)


def _recording(original: Callable[..., Any]) -> Callable[..., Any]:
    """Record what runs in an agent's span. A streamed run is pulled from elsewhere: it has the span alone."""

    @functools.wraps(original)
    def trace(agent: Any, *, execute: Callable[..., Any], stream: bool, **rest: Any) -> Any:
        execution = Execution("agent", agent.name or agent.id, ORIGIN)
        run = execute if stream else functools.partial(call_as, execution, execute)
        return original(agent, execute=run, stream=stream, **rest)

    return trace
