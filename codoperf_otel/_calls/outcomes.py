"""How a call ended: an error of its own, or the will of its caller."""

from __future__ import annotations

import sys
from typing import Any, cast

from codoperf_otel._telemetry import names
from codoperf_otel._telemetry.interrupts import raise_interrupt


def is_failure(error: BaseException) -> bool:
    """Whether an exception that ends a call is an error of it, rather than the caller's will."""
    try:
        if issubclass(type(error), SystemExit):  # `isinstance` would ask the error for its class
            return bool(cast("SystemExit", error).code)
        return outcome_of(error) is None
    except Exception as failed:  # a method of the exception's own
        raise_interrupt(failed)
        return True


def outcome_of(error: BaseException) -> str | None:
    """``abandoned`` for a generator closed early, ``cancelled`` for a cancelled task, else None."""
    kind = type(error)
    if issubclass(kind, GeneratorExit):
        return names.ABANDONED
    cancellations = tuple(_cancellations())
    if issubclass(kind, BaseExceptionGroup):  # as a nursery of trio's raises that is cancelled
        _, others = cast("BaseExceptionGroup[Any]", error).split(cancellations)
        return names.CANCELLED if others is None else None
    return names.CANCELLED if issubclass(kind, cancellations) else None


def _cancellations() -> list[type[BaseException]]:
    """The exceptions by which the libraries that are loaded cancel a task."""
    known = (
        ("asyncio", "CancelledError"),
        ("concurrent.futures", "CancelledError"),
        ("trio", "Cancelled"),
        ("greenlet", "GreenletExit"),
    )
    found = (getattr(sys.modules.get(module), name, None) for module, name in known)
    return [kind for kind in found if isinstance(kind, type)]
