"""LangChain: its tools, also those that LangGraph and other frameworks run."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

from codoperf_otel._frameworks.recorded import Execution
from codoperf_otel._frameworks.returned_failures import ToolError, recorded_with_failures
from codoperf_otel._patching.replacing import Replacement


def replacements(_: str, module: ModuleType) -> Iterator[Replacement]:
    """The two functions that run a tool."""
    for name in ("run", "arun"):
        yield recorded_with_failures(module.BaseTool, name, _execution, _failure)


def _execution(tool: Any, *_: Any, **__: Any) -> Execution:
    return Execution("tool", tool.name, "langchain")


def _failure(result: Any, *_: Any, **__: Any) -> Exception | None:
    """How a tool failed whose exception its own ``handle_tool_error`` answers for: a message says so."""
    has_failed = getattr(result, "status", None) == "error"
    return ToolError() if has_failed else None
