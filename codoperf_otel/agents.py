"""Workflows, agents and tools: what they cost, and which was in force when something else was done."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from codoperf_otel._calls.cells import OPERATION
from codoperf_otel._calls.context import current_agent, propagate_context, propagation_env
from codoperf_otel._calls.endings import end_agent, end_tool
from codoperf_otel._calls.meters import MEMORY
from codoperf_otel._calls.sites import Site
from codoperf_otel._decorating import OperationScope, check_callable, checked_name, description_of, names_of
from codoperf_otel._statistics.monitor import global_monitor
from codoperf_otel._telemetry import names

if TYPE_CHECKING:
    from codoperf_otel._calls.budgets import Budget

__all__ = [
    "agent",
    "current_agent",
    "propagate_context",
    "propagation_env",
    "tool",
    "workflow",
]

P = ParamSpec("P")
R = TypeVar("R")


@overload
def agent(name: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def agent(
    name: str,
    *,
    description: str | None = None,
    version: str | None = None,
    conversation_id: str | None = None,
    budget: Budget | None = None,
) -> OperationScope: ...
@overload
def agent(
    name: None = None,
    *,
    description: str | None = None,
    version: str | None = None,
    conversation_id: str | None = None,
    budget: Budget | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def agent(
    name: str | Callable[..., Any] | None = None,
    *,
    description: str | None = None,
    version: str | None = None,
    conversation_id: str | None = None,
    budget: Budget | None = None,
) -> Any:
    """Record what a function does, or a ``with`` block, as one invocation of the agent `name`.

    Everything that runs inside, in tasks and in `asyncio.to_thread` too, says that this agent was in
    force. The name stays in the process: it is not in Baggage, so no HTTP header carries it.
    Span and attributes follow OpenTelemetry's GenAI conventions (``invoke_agent``).

    Bare, or without a name, the decorator takes the name of the function, and its docstring as the
    description unless another is given.

    >>> @agent("planner", version="2")
    ... def plan(goal):
    ...     return current_agent()
    >>> plan("review")
    'planner'
    >>> @agent
    ... def reviewer(goal):
    ...     return current_agent()
    >>> reviewer("review")
    'reviewer'

    Args:
        budget: what each run may use; see `codoperf_otel.Budget`.

    Raises:
        TypeError: the name is no text; what is decorated is not callable; the budget is none.
        ValueError: the name is empty.
    """
    given = {names.GEN_AI_AGENT_VERSION: version, names.GEN_AI_CONVERSATION_ID: conversation_id}
    if budget is not None:
        _check_budget(budget)
    return _scope_or_decorator("agent", name, description, partial(_agent_site, _present(given), budget))


@overload
def tool(name: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def tool(
    name: str,
    *,
    type: str | None = None,
    description: str | None = None,
    call_id: str | None = None,
) -> OperationScope: ...
@overload
def tool(
    name: None = None,
    *,
    type: str | None = None,
    description: str | None = None,
    call_id: str | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def tool(
    name: str | Callable[..., Any] | None = None,
    *,
    type: str | None = None,  # noqa: A002  # the attribute's own word
    description: str | None = None,
    call_id: str | None = None,
) -> Any:
    """Record what a function does, or a ``with`` block, as one execution of the tool `name`.

    Span and attributes follow OpenTelemetry's GenAI conventions (``execute_tool``).

    Bare, or without a name, the decorator takes the name of the function, and its docstring as the
    description unless another is given.

    >>> with agent("coder"), tool("read_file", type="function"):
    ...     current_agent()
    'coder'

    Raises:
        TypeError: the name is no text; what is decorated is not callable.
        ValueError: the name is empty.
    """
    given = {names.GEN_AI_TOOL_TYPE: type, names.GEN_AI_TOOL_CALL_ID: call_id}
    return _scope_or_decorator("tool", name, description, partial(_tool_site, _present(given)))


@overload
def workflow(name: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def workflow(name: str) -> OperationScope: ...
@overload
def workflow(name: None = None) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def workflow(name: str | Callable[..., Any] | None = None) -> Any:
    """Record what a function does, or a ``with`` block, as one run of the workflow `name`.

    A workflow is the whole of a run in which several agents take part. Which agent is in force does not
    change. Span, attributes and the metric ``gen_ai.workflow.duration`` follow OpenTelemetry's GenAI
    conventions (``invoke_workflow``).

    Bare, or without a name, the decorator takes the name of the function.

    >>> with workflow("review"), agent("planner"):
    ...     current_agent()
    'planner'

    Raises:
        TypeError: the name is no text; what is decorated is not callable.
        ValueError: the name is empty.
    """
    return _scope_or_decorator("workflow", name, None, _workflow_site)


def _scope_or_decorator(
    caller: str, name: object, description: str | None, make_site: Callable[[str, str | None], Site]
) -> Any:
    """The scope of a name; without one, a decorator that takes name and description of the function."""

    def decorate(func: Callable[..., Any]) -> Callable[..., Any]:
        check_callable(caller, func)
        said = description_of(func) if description is None else description
        return OperationScope(caller, partial(make_site, names_of(func)[0], said))(func)

    if name is None:
        return decorate
    if isinstance(name, str):
        return OperationScope(caller, partial(make_site, checked_name(caller, name), description))
    return decorate(name)  # type: ignore[arg-type]  # bare: `check_callable` refuses anything else


def _check_budget(budget: object) -> None:
    if not hasattr(budget, "open") or not hasattr(budget, "limits"):
        raise TypeError(f"agent: the budget must be a Budget, not {budget!r}")


def _agent_site(given: dict[str, str], budget: Budget | None, name: str, description: str | None) -> Site:
    described = _present({names.GEN_AI_AGENT_DESCRIPTION: description})
    return _site(
        names.INVOKE_AGENT,
        f"{names.INVOKE_AGENT} {name}",
        histogram=names.INVOKE_AGENT_DURATION,
        attributes={names.GEN_AI_OPERATION_NAME: names.INVOKE_AGENT, **described, **given},
        duration_attributes={},
        agent=name,
        at_end=end_agent,
        budget=budget,
        execution=_execution(names.INVOKE_AGENT, names.GEN_AI_AGENT_NAME, name),
    )


def _tool_site(given: dict[str, str], name: str, description: str | None) -> Site:
    named = {names.GEN_AI_TOOL_NAME: name}
    described = _present({names.GEN_AI_TOOL_DESCRIPTION: description})
    return _site(
        f"{names.EXECUTE_TOOL} {name}",
        f"{names.EXECUTE_TOOL} {name}",
        histogram=names.EXECUTE_TOOL_DURATION,
        attributes={names.GEN_AI_OPERATION_NAME: names.EXECUTE_TOOL, **named, **described, **given},
        duration_attributes=named,
        at_end=end_tool,
        execution=_execution(names.EXECUTE_TOOL, names.GEN_AI_TOOL_NAME, name),
    )


def _workflow_site(name: str, _: str | None) -> Site:
    named = {names.GEN_AI_WORKFLOW_NAME: name}
    return _site(
        f"{names.INVOKE_WORKFLOW} {name}",
        f"{names.INVOKE_WORKFLOW} {name}",
        histogram=names.WORKFLOW_DURATION,
        attributes={names.GEN_AI_OPERATION_NAME: names.INVOKE_WORKFLOW, **named},
        duration_attributes=named,
        execution=_execution(names.INVOKE_WORKFLOW, names.GEN_AI_WORKFLOW_NAME, name),
    )


def _execution(operation: str, attribute: str, name: str) -> tuple[tuple[str, str], ...]:
    return (names.GEN_AI_OPERATION_NAME, operation), (attribute, name)


def _present(attributes: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in attributes.items() if value is not None}


def _site(cell_name: str, span_name: str, **rest: Any) -> Site:
    return Site(
        span_name,
        span_name,
        family=OPERATION,
        cell_name=cell_name,
        monitor=global_monitor,
        meters=(MEMORY,),
        **rest,
    )
