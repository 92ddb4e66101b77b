"""Anthropic's SDK: the function tools of its tool runner, inside the spans that it makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

from codoperf_otel._frameworks.recorded import Execution, recorded_in
from codoperf_otel._patching.replacing import Replacement


def replacements(_: str, module: ModuleType) -> Iterator[Replacement]:
    """What calls a tool. Agents of the SDK have no names."""
    for kind in (module.BetaFunctionTool, module.BetaAsyncFunctionTool):
        yield recorded_in(kind, "call", _tool)


def _tool(tool: Any, *_: Any) -> Execution:
    return Execution("tool", tool.name, "anthropic")
