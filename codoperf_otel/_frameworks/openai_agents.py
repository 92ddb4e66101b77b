"""OpenAI Agents SDK: its runs, agents and tools.

The SDK traces its agents. They are taken from there, also where tracing is disabled. A processor would be
removed by the program's own ``set_trace_processors``.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from codoperf_otel._calls.budget_exceeded import BudgetExceeded
from codoperf_otel._calls.foreign_code import failed
from codoperf_otel._decorating import OperationScope
from codoperf_otel._frameworks.recorded import Execution, block, is_within, recorded
from codoperf_otel._frameworks.returned_failures import note, noted, recorded_with_failures
from codoperf_otel._patching.replacing import Replacement

ORIGIN = "openai-agents"


def replacements(_: str, module: ModuleType) -> Iterator[Replacement]:
    """What runs workflows and tools, and what begins the spans of agents."""
    if not hasattr(module, "AgentRunner"):  # a program's own package of that name
        return
    spans, tool = sys.modules["agents.tracing.spans"], sys.modules["agents.tool"]
    for owner, name in (
        (module.AgentRunner, "run"),
        (sys.modules["agents.run_internal.run_loop"], "start_streaming"),
    ):
        original = vars(owner)[name]
        yield Replacement(owner, name, original, recorded(_with_budgets(original), _workflow))
    yield recorded_with_failures(tool, "_invoke_function_tool_with_metadata", _tool, _failure)
    answer = tool.maybe_invoke_function_tool_failure_error_function
    yield Replacement(tool, answer.__name__, answer, _noting(answer))
    for kind in (spans.SpanImpl, spans.NoOpSpan):
        yield Replacement(kind, "start", kind.start, _starting(kind.start))


def _workflow(*_: Any, run_config: Any = None, **__: Any) -> Execution | None:
    """A run, unless it is that of an agent which is a tool of another."""
    if is_within(ORIGIN):
        return None
    return Execution("workflow", getattr(run_config, "workflow_name", None) or "Agent workflow", ORIGIN)


def _with_budgets(run: Callable[..., Any]) -> Callable[..., Any]:
    """A run that raises a `BudgetExceeded` as it is, where the SDK has put it into its own exception."""

    @functools.wraps(run)
    async def replacement(*args: Any, **kwargs: Any) -> Any:
        try:
            return await run(*args, **kwargs)
        except Exception as error:
            exceeded = error.__cause__
            if not isinstance(error, sys.modules["agents.exceptions"].UserError):
                raise
            if not isinstance(exceeded, BudgetExceeded):
                raise
        raise exceeded

    return replacement


def _tool(*, function_tool: Any, **_: Any) -> Execution:
    return Execution("tool", function_tool.name, ORIGIN)


def _noting(answer: Callable[..., Any]) -> Callable[..., Any]:
    """What turns a tool's exception into an answer for the model, and is heard."""

    @functools.wraps(answer)
    async def replacement(*, error: BaseException, **kwargs: Any) -> Any:
        found = await answer(error=error, **kwargs)
        if found is not None:
            note(error)
        return found

    return replacement


def _failure(result: Any, *, function_tool: Any, **_: Any) -> Exception | None:
    """How a tool failed of which the model is told. What else the SDK itself answers for is a time-out."""
    error = noted()
    if error is None and result.is_sdk_generated_error:
        kind = sys.modules["agents.exceptions"].ToolTimeoutError
        error = kind(tool_name=function_tool.name, timeout_seconds=function_tool.timeout_seconds)
    return error


def _starting(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def start(span: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            if type(span.span_data).__name__ == "AgentSpanData":
                _begin(span)
        except Exception as error:
            failed("an agent of the OpenAI Agents SDK is not recorded", error)
        return original(span, *args, **kwargs)

    return start


def _begin(span: Any) -> None:
    """Begin a run, which the span ends itself: also after its SDK was put back."""
    name = span.span_data.name
    if name and "finish" not in vars(span):
        scope = block(Execution("agent", name, ORIGIN)).__enter__()
        span.finish = functools.partial(_finish, span, scope, sys.exc_info()[1])


def _finish(span: Any, scope: OperationScope, before: BaseException | None, *args: Any, **kwargs: Any) -> Any:
    """End it: an exception that is handled now, and was not at its begin, is how it failed."""
    del span.finish
    error = sys.exc_info()[1]
    try:
        scope.__exit__(None, None if error is before else error, None)
    except Exception as wrong:
        failed("the end of an agent of the OpenAI Agents SDK is not recorded", wrong)
    return span.finish(*args, **kwargs)
