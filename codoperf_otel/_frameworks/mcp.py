"""The official SDK of MCP: a server's tools.

The SDK has a span around each tool already, which the tool's call shares.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

from codoperf_otel._frameworks.recorded import Execution, recorded_in
from codoperf_otel._patching.replacing import Replacement


def replacements(_: str, module: ModuleType) -> Iterator[Replacement]:
    """The one function that runs tools. A client's name of one that is not there does not come to it."""
    yield recorded_in(module.Tool, "run", _execution)


def _execution(tool: Any, *_: Any, **__: Any) -> Execution:
    return Execution("tool", tool.name, "mcp")
