"""LangChain: its tools, also those that LangGraph and other frameworks run."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

from codoperf_otel._frameworks.recorded import Execution, recorded_in
from codoperf_otel._patching.replacing import Replacement


def replacements(_: str, module: ModuleType) -> Iterator[Replacement]:
    """The two functions that run a tool."""
    for name in ("run", "arun"):
        yield recorded_in(module.BaseTool, name, _execution)


def _execution(tool: Any, *_: Any, **__: Any) -> Execution:
    return Execution("tool", tool.name, "langchain")
