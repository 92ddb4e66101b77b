"""What is written on spans at more than one place: events and errors."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.trace import Span, StatusCode
from opentelemetry.util.types import AttributeValue

from codoperf_otel._telemetry import names


def add_event(span: Span, name: str, attributes: Mapping[str, AttributeValue]) -> None:
    """Put an event on a span, if the span records."""
    if span.is_recording():
        span.add_event(name, attributes)


def error_type(error: BaseException) -> str:
    """The fully qualified class of an exception, as ``error.type`` has it.

    >>> error_type(ValueError("no"))
    'ValueError'
    """
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def record_error(span: Span, error: BaseException) -> None:
    """Mark a recording span as failed by `error`: status, ``error.type`` and the exception event."""
    span.set_attribute(names.ERROR_TYPE, error_type(error))
    span.set_status(StatusCode.ERROR, _message(error))
    try:
        span.record_exception(error)
    except Exception:  # an exception whose own text fails
        span.add_event("exception", {"exception.type": error_type(error)})


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return ""
