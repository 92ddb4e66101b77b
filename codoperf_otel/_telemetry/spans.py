"""What is written on spans at more than one place: events and errors."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from opentelemetry.trace import Span, StatusCode, set_span_in_context
from opentelemetry.util.types import AttributeValue

from codoperf_otel.__about__ import __version__
from codoperf_otel._telemetry import names
from codoperf_otel._telemetry.interrupts import raise_interrupt
from codoperf_otel._telemetry.records import error_message, error_type, exception_fields, is_deep

EXCEPTION_SIGNAL = "OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN"

_NO_LOGGER_PROVIDERS = ("ProxyLoggerProvider", "NoOpLoggerProvider")


def add_event(
    span: Span, name: str, attributes: Mapping[str, AttributeValue], at_ns: int | None = None
) -> None:
    """Put an event on a span, if the span records; of now, or of a time in ns since the epoch."""
    if span.is_recording():
        span.add_event(name, attributes, at_ns)


def record_error(span: Span, error: BaseException) -> None:
    """Mark a recording span as failed by `error`: status, ``error.type`` and the exception.

    The exception is an event of the span. Where there is a logger provider, the convention's variable may
    make it a log record instead (``logs``), or both (``logs/dup``).
    """
    span.set_attribute(names.ERROR_TYPE, error_type(error))
    span.set_status(StatusCode.ERROR, error_message(error))
    signals = {signal.strip() for signal in os.environ.get(EXCEPTION_SIGNAL, "").split(",")}
    is_logged = not signals.isdisjoint({"logs", "logs/dup"}) and _log_exception(span, error)
    if not is_logged or "logs/dup" in signals:
        _add_exception_event(span, error)


def _add_exception_event(span: Span, error: BaseException) -> None:
    try:
        if is_deep(error):
            span.add_event(names.EXCEPTION, {**exception_fields(error), names.EXCEPTION_ESCAPED: "False"})
        else:
            span.record_exception(error)
    except Exception as failure:  # an exception whose own text fails
        raise_interrupt(failure)
        span.add_event(names.EXCEPTION, {names.EXCEPTION_TYPE: error_type(error)})


def _log_exception(span: Span, error: BaseException) -> bool:
    """Log the exception; returns whether that was possible."""
    from opentelemetry._logs import LogRecord, SeverityNumber, get_logger_provider

    provider = get_logger_provider()
    if type(provider).__name__ in _NO_LOGGER_PROVIDERS:
        return False
    record = LogRecord(
        timestamp=time.time_ns(),
        context=set_span_in_context(span),
        severity_number=SeverityNumber.ERROR,
        severity_text="ERROR",
        attributes=exception_fields(error),
        event_name=names.EXCEPTION,
    )
    try:
        provider.get_logger(names.SCOPE, __version__).emit(record)
    except Exception as failure:
        raise_interrupt(failure)
        return False
    return True
