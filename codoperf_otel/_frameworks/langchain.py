"""LangChain: its tools, also those that LangGraph and other frameworks run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from codoperf_otel._calls.task_steps import stepped
from codoperf_otel._frameworks.recorded import Execution
from codoperf_otel._frameworks.returned_failures import ToolError, recorded_with_failures
from codoperf_otel._patching.replacing import Replacement


def replacements(_: str, module: ModuleType) -> Iterator[Replacement]:
    """The two functions that run a tool, and what makes a task of an asynchronous one."""
    for name in ("run", "arun"):
        yield recorded_with_failures(module.BaseTool, name, _execution, _failure)
    original = vars(module).get("coro_with_context")
    if original is not None:
        yield Replacement(module, "coro_with_context", original, _stepping(original))


def _stepping(original: Callable[..., Any]) -> Callable[..., Any]:
    """What makes a task, of which each step is charged to the call that it works for."""

    @functools.wraps(original)
    def task_of(coroutine: Any, *args: Any, **kwargs: Any) -> Any:
        return original(stepped(coroutine), *args, **kwargs)

    return task_of


def _execution(tool: Any, *_: Any, **__: Any) -> Execution:
    return Execution("tool", tool.name, "langchain")


def _failure(result: Any, *_: Any, **__: Any) -> Exception | None:
    """How a tool failed whose exception its own ``handle_tool_error`` answers for: a message says so."""
    has_failed = getattr(result, "status", None) == "error"
    return ToolError() if has_failed else None
