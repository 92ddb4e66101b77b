"""The official SDK of MCP: a server's tools.

The SDK has a span around each tool already, which the tool's call shares.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

from codoperf_otel._frameworks.recorded import Execution
from codoperf_otel._frameworks.returned_failures import ToolError, recorded_with_failures
from codoperf_otel._patching.replacing import Replacement


def replacements(_: str, module: ModuleType) -> Iterator[Replacement]:
    """The one function that runs tools. A client's name of one that is not there does not come to it."""
    yield recorded_with_failures(module.Tool, "run", _execution, _failure)


def _execution(tool: Any, *_: Any, **__: Any) -> Execution:
    return Execution("tool", tool.name, "mcp")


def _failure(result: Any, *_: Any, **__: Any) -> Exception | None:
    """How a tool failed that does not raise, but returns a result which says so."""
    return ToolError() if getattr(result, "is_error", False) else None
