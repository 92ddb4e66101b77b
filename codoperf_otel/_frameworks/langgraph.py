"""LangGraph: its graphs, which are agents or workflows. Their tools are those of LangChain."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

from codoperf_otel._frameworks.recorded import Execution, is_within, recorded_in
from codoperf_otel._patching.replacing import Replacement

ORIGIN = "langgraph"


def replacements(_: str, module: ModuleType) -> Iterator[Replacement]:
    """The functions that run a graph. They call each other, and the first one is recorded."""
    for name in ("invoke", "ainvoke", "stream", "astream"):
        yield recorded_in(module.Pregel, name, _execution)


def _execution(graph: Any, *_: Any, **__: Any) -> Execution | None:
    """A graph in a graph is a part of it, unless it is an agent."""
    if _is_agent(graph):
        return Execution("agent", graph.get_name(), ORIGIN)
    return None if is_within(ORIGIN) else Execution("workflow", graph.get_name(), ORIGIN)


def _is_agent(graph: Any) -> bool:
    """Whether ``create_agent`` of LangChain or ``create_react_agent`` of LangGraph has made it."""
    metadata = (graph.config or {}).get("metadata") or {}
    return metadata.get("ls_integration") == "langchain_create_agent" or {"agent", "tools"} <= set(
        graph.nodes
    )
