"""How a call ended: an error of its own, or the will of its caller."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, cast

from codoperf_otel._telemetry import names
from codoperf_otel._telemetry.interrupts import raise_interrupt

_CANCELLATIONS = (
    ("asyncio", "CancelledError"),
    ("concurrent.futures", "CancelledError"),
    ("trio", "Cancelled"),
    ("greenlet", "GreenletExit"),
)
_HANDED_ON = (
    ("agent_framework.exceptions", "UserInputRequiredException"),
    ("crewai.flow.async_feedback.types", "HumanFeedbackPending"),
    ("langgraph.errors", "GraphBubbleUp"),
    ("pydantic_ai.exceptions", "ApprovalRequired"),
    ("pydantic_ai.exceptions", "CallDeferred"),
    ("pydantic_ai.exceptions", "SkipToolExecution"),
    ("strands.interrupt", "InterruptException"),
    ("workflows.runtime.types.results", "WaitingForEvent"),
)
"""By which agents hand over to another, or wait for a person. Their texts have what the agents say."""


def is_failure(error: BaseException) -> bool:
    """Whether an exception that ends a call is an error of it, rather than the caller's will."""
    try:
        if issubclass(type(error), SystemExit):  # `isinstance` would ask the error for its class
            return bool(cast("SystemExit", error).code)
        return outcome_of(error) is None and not issubclass(type(error), tuple(_loaded(_HANDED_ON)))
    except Exception as failed:  # a method of the exception's own
        raise_interrupt(failed)
        return True


def outcome_of(error: BaseException) -> str | None:
    """``abandoned`` for a generator closed early, ``cancelled`` for a cancelled task, else None."""
    kind = type(error)
    if issubclass(kind, GeneratorExit):
        return names.ABANDONED
    cancellations = tuple(_loaded(_CANCELLATIONS))
    if issubclass(kind, BaseExceptionGroup):  # as a nursery of trio's raises that is cancelled
        _, others = cast("BaseExceptionGroup[Any]", error).split(cancellations)
        return names.CANCELLED if others is None else None
    return names.CANCELLED if issubclass(kind, cancellations) else None


def _loaded(known: Iterable[tuple[str, str]]) -> list[type[BaseException]]:
    """Those of these exceptions whose libraries are loaded."""
    found = (getattr(sys.modules.get(module), name, None) for module, name in known)
    return [kind for kind in found if isinstance(kind, type)]
