"""Log records: what the package's own carry, and what any record says as plain fields."""

from __future__ import annotations

import logging
import traceback
from threading import get_ident
from typing import Any

from opentelemetry.trace import format_span_id, format_trace_id, get_current_span

from codoperf_otel._telemetry import names
from codoperf_otel._telemetry.interrupts import raise_interrupt

AREAS = (
    "agents",
    "cache",
    "calls",
    "export",
    "imports",
    "instrumentation",
    "lazy_loader",
    "live",
    "monitoring",
    "performance_monitor",
    "readings",
    "resource_tracker",
    "run",
    "sdk",
    "settings",
    "telemetry",
)
"""The package's loggers are ``codoperf_otel.{area}``."""

MOST_FRAMES = 100
"""Frames of a traceback that are kept, where it was raised."""

_STANDARD = frozenset(
    (*vars(logging.LogRecord("", 0, "", 0, "", (), None)), "asctime", "message", "taskName")
)


def error_type(error: BaseException) -> str:
    """The fully qualified class of an exception, as ``error.type`` has it.

    >>> error_type(ValueError("no"))
    'ValueError'
    """
    kind = type(error)
    try:
        return (
            kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        )
    except Exception as failure:  # a metaclass of the program's own
        raise_interrupt(failure)
        return names.OTHER_ERROR


def error_message(error: BaseException) -> str:
    """The text of an exception; an empty one where its own method fails."""
    try:
        return str(error)
    except Exception as failure:
        raise_interrupt(failure)
        return ""


def exception_fields(error: BaseException) -> dict[str, str]:
    """An exception according to OpenTelemetry's convention."""
    fields = {names.EXCEPTION_TYPE: error_type(error), names.EXCEPTION_MESSAGE: error_message(error)}
    try:
        fields[names.EXCEPTION_STACKTRACE] = _stacktrace(error)
    except Exception as failure:  # an exception whose own text fails
        raise_interrupt(failure)
    return fields


def is_deep(error: BaseException) -> bool:
    """Whether its traceback has more frames than are kept: each span on its way would format them all."""
    walked = error.__traceback__
    for _ in range(MOST_FRAMES):
        if walked is None:
            return False
        walked = walked.tb_next
    return walked is not None


def _stacktrace(error: BaseException) -> str:
    """The traceback; of one that is deep, where it was raised."""
    if not is_deep(error):
        return "".join(traceback.format_exception(error))
    innermost = traceback.format_exception(error, limit=-MOST_FRAMES)
    return "".join([f"(the innermost {MOST_FRAMES} frames)\n", *innermost])


def message(record: logging.LogRecord) -> str:
    """The text of a record. Where its arguments do not fit, it is text and arguments side by side."""
    try:
        return record.getMessage()
    except Exception as failure:
        raise_interrupt(failure)
        return f"{represented(record.msg)} {represented(record.args)}"


def represented(value: object) -> str:
    """The `repr` of a value, whatever its method does."""
    try:
        return repr(value)
    except Exception as failure:
        raise_interrupt(failure)
        return f"<{type(value).__name__}>"


def details(record: logging.LogRecord) -> dict[str, Any]:
    """What a record has beside its message: the ``extra`` fields, the stack, the exception."""
    fields = {str(name): value for name, value in vars(record).items() if name not in _STANDARD}
    if record.stack_info:
        fields[names.CODE_STACKTRACE] = record.stack_info
    error = record.exc_info and record.exc_info[1]
    if error is not None:
        fields |= exception_fields(error)
    elif record.exc_text:
        fields[names.EXCEPTION_STACKTRACE] = record.exc_text
    return fields


def trace_context(record: logging.LogRecord) -> dict[str, str]:
    """The ids of the current span; none where the record has them already, or was made in another thread."""
    span = get_current_span().get_span_context()
    if not span.is_valid or hasattr(record, "trace_id") or record.thread not in (None, get_ident()):
        return {}
    return {"trace_id": format_trace_id(span.trace_id), "span_id": format_span_id(span.span_id)}


def add_trace_context(record: logging.LogRecord) -> bool:
    """A filter for loggers and handlers that adds ``trace_id`` and ``span_id`` to each record."""
    vars(record).update(trace_context(record))
    return True


def _complete(record: logging.LogRecord) -> bool:
    """The filter of the package's own loggers: ids, and as ``error`` the class of what went wrong."""
    raised = record.exc_info[1] if record.exc_info else None
    arguments = record.args if isinstance(record.args, tuple) else ()
    error = next((each for each in (raised, *arguments) if isinstance(each, BaseException)), None)
    if error is not None and not hasattr(record, "error"):
        record.error = error_type(error)
    return add_trace_context(record)


for _area in AREAS:  # a filter holds for its own logger only, not for those below
    logging.getLogger(f"codoperf_otel.{_area}").addFilter(_complete)
