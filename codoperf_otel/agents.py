"""Agents and tools: what they cost, and which of them was in force when something else was done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from codoperf_otel import _switches
from codoperf_otel._calls import monitored
from codoperf_otel._context import current_agent, propagate_context
from codoperf_otel._monitor import global_monitor
from codoperf_otel._scopes import Scope
from codoperf_otel._sites import Site
from codoperf_otel._statistics import OPERATION
from codoperf_otel._telemetry import names

__all__ = ["agent", "current_agent", "propagate_context", "tool"]

P = ParamSpec("P")
R = TypeVar("R")


class _Operation(Scope):
    """An agent or a tool, as a decorator or as a context manager."""

    def __call__(self, func: Callable[P, R]) -> Callable[P, R]:
        if not _switches.flag(_switches.ENABLED, default=True):
            return func
        return monitored(func, lambda _: self._site)


def agent(
    name: str,
    *,
    description: str | None = None,
    version: str | None = None,
    conversation_id: str | None = None,
) -> _Operation:
    """Record what a function does, or a ``with`` block, as one invocation of the agent `name`.

    Everything that runs inside, in tasks and in `asyncio.to_thread` too, says that this agent was in
    force. The name stays in the process: it is not in Baggage, so no HTTP header carries it.
    Span and attributes follow OpenTelemetry's GenAI conventions (``invoke_agent``).

    >>> @agent("planner", version="2")
    ... def plan(goal):
    ...     return current_agent()
    >>> plan("review")
    'planner'
    """
    given = {
        names.GEN_AI_AGENT_DESCRIPTION: description,
        names.GEN_AI_AGENT_VERSION: version,
        names.GEN_AI_CONVERSATION_ID: conversation_id,
    }
    return _Operation(
        _site(
            names.INVOKE_AGENT,
            f"{names.INVOKE_AGENT} {name}",
            histogram=names.INVOKE_AGENT_DURATION,
            attributes={names.GEN_AI_OPERATION_NAME: names.INVOKE_AGENT, **_present(given)},
            duration_attributes={},
            agent=name,
        )
    )


def tool(
    name: str,
    *,
    type: str | None = None,  # noqa: A002  # the attribute's own word
    description: str | None = None,
    call_id: str | None = None,
) -> _Operation:
    """Record what a function does, or a ``with`` block, as one execution of the tool `name`.

    Span and attributes follow OpenTelemetry's GenAI conventions (``execute_tool``).

    >>> with agent("coder"), tool("read_file", type="function"):
    ...     current_agent()
    'coder'
    """
    given = {
        names.GEN_AI_TOOL_TYPE: type,
        names.GEN_AI_TOOL_DESCRIPTION: description,
        names.GEN_AI_TOOL_CALL_ID: call_id,
    }
    named = {names.GEN_AI_TOOL_NAME: name}
    return _Operation(
        _site(
            f"{names.EXECUTE_TOOL} {name}",
            f"{names.EXECUTE_TOOL} {name}",
            histogram=names.EXECUTE_TOOL_DURATION,
            attributes={names.GEN_AI_OPERATION_NAME: names.EXECUTE_TOOL, **named, **_present(given)},
            duration_attributes=named,
        )
    )


def _present(attributes: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in attributes.items() if value is not None}


def _site(cell_name: str, span_name: str, **rest: Any) -> Site:
    return Site(span_name, span_name, family=OPERATION, cell_name=cell_name, sink=global_monitor.take, **rest)
