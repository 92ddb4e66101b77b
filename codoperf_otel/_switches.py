"""The ``CODOPERF_OTEL_*`` variables: each is read where it is used, and a wrong value is one clear error."""

from __future__ import annotations

import os

ENABLED = "CODOPERF_OTEL_ENABLED"
LEAN_SPANS = "CODOPERF_OTEL_LEAN_SPANS"
MAX_SPANS_PER_SECOND = "CODOPERF_OTEL_MAX_SPANS_PER_SECOND"
MIN_SPAN_DURATION = "CODOPERF_OTEL_MIN_SPAN_DURATION"

_FLAGS = {"true": True, "false": False}


def flag(name: str, default: bool) -> bool:
    """The variable as true or false, `default` where it is not set.

    Raises:
        ValueError: it is neither.
    """
    value = os.environ.get(name, "").strip().lower()
    if not value:
        return default
    if value not in _FLAGS:
        raise ValueError(f"{name}={os.environ[name]!r}: allowed are true and false")
    return _FLAGS[value]


def chosen(option: str, value: float | None, name: str) -> float | None:
    """An option as a number above 0, else the variable that stands for it; None where neither is given.

    Raises:
        ValueError: it is no such number.
    """
    if value is not None:
        return positive(option, value)
    given = os.environ.get(name, "").strip()
    return positive(name, given) if given else None


def positive(name: str, value: object) -> float:
    """A setting as a number above 0.

    Raises:
        ValueError: it is no such number.
    """
    try:
        given = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        given = -1.0
    if not 0 < given < float("inf"):
        raise ValueError(f"{name}={value!r}: allowed is a number above 0")
    return given
