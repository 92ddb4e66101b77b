"""What an exception that ends a call says of it."""

from __future__ import annotations

import sys

from codoperf_otel._telemetry import names


def is_failure(error: BaseException) -> bool:
    """Whether an exception that ends a call is an error of it, rather than the caller's will."""
    if isinstance(error, SystemExit):
        return bool(error.code)
    return outcome_of(error) is None


def outcome_of(error: BaseException) -> str | None:
    """``abandoned`` for a generator closed early, ``cancelled`` for a cancelled task, else None."""
    if isinstance(error, GeneratorExit):
        return names.ABANDONED
    cancellations = tuple(_cancellations())
    if isinstance(error, BaseExceptionGroup):  # as a nursery of trio's raises that is cancelled
        _, others = error.split(cancellations)
        return names.CANCELLED if others is None else None
    return names.CANCELLED if isinstance(error, cancellations) else None


def _cancellations() -> list[type[BaseException]]:
    """The exceptions by which the libraries that are loaded cancel a task."""
    known = (("asyncio", "CancelledError"), ("concurrent.futures", "CancelledError"), ("trio", "Cancelled"))
    found = (getattr(sys.modules.get(module), name, None) for module, name in known)
    return [kind for kind in found if isinstance(kind, type)]
