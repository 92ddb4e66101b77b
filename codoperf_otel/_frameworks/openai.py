"""OpenAI's SDK: the functions that its tool runners call."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

from codoperf_otel._frameworks.recorded import Execution, recorded_in
from codoperf_otel._patching.replacing import Replacement


def replacements(_: str, module: ModuleType) -> Iterator[Replacement]:
    """What calls a function. Agents of the SDK have no names."""
    for runner in (module.ResponsesToolRunner, module.AsyncResponsesToolRunner):
        yield recorded_in(runner, "_execute_function", _tool)


def _tool(_runner: Any, _run: Any, item: Any) -> Execution:
    return Execution("tool", item.name, "openai")
