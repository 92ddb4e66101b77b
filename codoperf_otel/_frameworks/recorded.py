"""What stands in the place of a framework's functions: the same, with each call recorded."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from codoperf_otel._calls.context import current_call
from codoperf_otel._calls.foreign_code import failed
from codoperf_otel._decorating import OperationScope, decorated
from codoperf_otel._patching.replacing import Replacement
from codoperf_otel.agents import agent, tool, workflow

MOST_SITES = 1000


class Execution(NamedTuple):
    """What one call of a framework's function is, and which framework's.

    `is_timed` says whether the framework has the convention's histograms of it itself.
    """

    kind: Literal["agent", "tool", "workflow"]
    name: str
    origin: str
    is_timed: bool = False


Describe = Callable[..., Execution | None]
"""Takes the arguments of a framework's function; returns what the call is, or None if it is not recorded."""

_KINDS: dict[str, Callable[[str], OperationScope]] = {"agent": agent, "tool": tool, "workflow": workflow}


def recorded(original: Callable[..., Any], describe: Describe) -> Callable[..., Any]:
    """A function of a framework with each call recorded as what `describe` says of its arguments."""

    @functools.wraps(original)
    def replacement(*args: Any, **kwargs: Any) -> Any:
        return _chosen(original, describe, args, kwargs)(*args, **kwargs)

    @functools.wraps(original)
    async def awaited(*args: Any, **kwargs: Any) -> Any:
        return await replacement(*args, **kwargs)

    return awaited if inspect.iscoroutinefunction(original) else replacement


def recorded_in(owner: Any, name: str, describe: Describe) -> Replacement:
    """The function of that name in a module or class, with each call recorded."""
    original = vars(owner)[name]
    return Replacement(owner, name, original, recorded(original, describe))


def block(execution: Execution) -> OperationScope:
    """A scope for what begins and ends in different functions of a framework."""
    scope = _KINDS[execution.kind](execution.name)
    scope.site.origin = execution.origin
    scope.site.is_timed_elsewhere = execution.is_timed
    return scope


def is_running(execution: Execution) -> bool:
    """Whether the innermost call in force here is that of this execution already."""
    call = current_call()
    if call is None or not call.is_running:
        return False
    site = _scope(execution).site
    return call.site.execution == site.execution and call.site.origin == site.origin


def is_within(origin: str) -> bool:
    """Whether the innermost call in force here is of that framework."""
    call = current_call()
    return call is not None and call.is_running and call.site.origin == origin


def _chosen(
    original: Callable[..., Any], describe: Describe, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Callable[..., Any]:
    """The function to call: driven, unless it is not to be recorded or nobody can tell what it is."""
    try:
        execution = describe(*args, **kwargs)
        if execution is None or not execution.name or is_running(execution):
            return original
        return _driven(original, execution)
    except Exception as error:
        failed("a call of %s is not recorded", error, getattr(original, "__qualname__", repr(original)))
        return original


@functools.lru_cache(MOST_SITES)
def _driven(original: Callable[..., Any], execution: Execution) -> Callable[..., Any]:
    site = _scope(execution).site
    return decorated("instrument_agents", original, lambda _: site)


@functools.lru_cache(MOST_SITES)
def _scope(execution: Execution) -> OperationScope:
    return block(execution)


async def _call(_: Execution, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return await function(*args, **kwargs)


call_as = recorded(_call, lambda execution, *_, **__: execution)
"""``await call_as(execution, function, ...)`` calls a function that is made for one call."""
