"""From `logging` to OpenTelemetry's logs: each record once, whatever handlers the program has."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry._logs import Logger, LoggerProvider, LogRecord, SeverityNumber
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, get_value
from opentelemetry.trace import format_span_id, format_trace_id

from codoperf_otel._once import Once
from codoperf_otel._telemetry import names
from codoperf_otel._telemetry.interrupts import raise_interrupt
from codoperf_otel._telemetry.records import details, message, represented

log = logging.getLogger("codoperf_otel.sdk")

# what opentelemetry-instrumentation-logging writes on every record, and the record has as its own fields
_CORRELATION = ("otelTraceID", "otelSpanID", "otelTraceSampled", "otelServiceName")
_LARGEST = 2**63


class LogBridge:
    """Hands the records of all loggers to a logger provider, from `start` to `shutdown`.

    It stands where a logger calls its handlers, not among them: a handler of the root logger would make
    `logging.basicConfig` do nothing, would be gone after `logging.config.dictConfig`, and would not see what
    does not propagate.
    """

    def __init__(self, provider: LoggerProvider) -> None:
        self._provider = provider
        self._loggers: dict[str, Logger] = {}
        self._is_first_failure = Once()

    def start(self) -> None:
        """Take records from now on."""
        _hook.bridge = self
        _hook.install()

    def force_flush(self, timeout_millis: int, /) -> bool:  # noqa: ARG002
        """Nothing is held back."""
        return True

    def shutdown(self) -> None:
        """Take no more records."""
        _hook.bridge = None
        _hook.remove()

    def take(self, record: logging.LogRecord) -> None:
        """Hand on a record, unless it comes from OpenTelemetry itself or from this. Never raises."""
        if _thread.is_busy or record.name.partition(".")[0] == "opentelemetry":
            return
        if get_value(_SUPPRESS_INSTRUMENTATION_KEY):  # an exporter's HTTP library
            return
        _thread.is_busy = True
        try:
            self._logger(record.name).emit(translated(record))
        except Exception as error:
            raise_interrupt(error)
            if self._is_first_failure():
                log.warning("a log record cannot be sent (more are not logged)", exc_info=True)
        finally:
            _thread.is_busy = False

    def _logger(self, name: str) -> Logger:
        if name not in self._loggers:
            self._loggers[name] = self._provider.get_logger(name)
        return self._loggers[name]


class _Thread(threading.local):
    is_busy = False


class _Hook:
    """Around the method of `logging` by which a logger calls its handlers."""

    bridge: LogBridge | None = None
    _ours: Callable[[logging.Logger, logging.LogRecord], None] | None = None

    def install(self) -> None:
        if self._ours is not None:  # someone else's wrapper is around it, and it is still called
            return
        self._theirs = theirs = logging.Logger.callHandlers

        def call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
            try:
                theirs(logger, record)
            finally:
                if (bridge := self.bridge) is not None:
                    bridge.take(record)

        self._ours = call_handlers
        logging.Logger.callHandlers = call_handlers  # type: ignore[assignment,method-assign]

    def remove(self) -> None:
        if logging.Logger.callHandlers is self._ours:
            logging.Logger.callHandlers = self._theirs  # type: ignore[method-assign]
            self._ours = None


_thread = _Thread()
_hook = _Hook()


def translated(record: logging.LogRecord) -> LogRecord:
    """A record of `logging` as OpenTelemetry has it, in the current context."""
    found = LogRecord(
        timestamp=int(record.created * 1e9),
        severity_text=logging.getLevelName(record.levelno),
        severity_number=severity(record.levelno),
        body=_text(message(record)),
    )
    found.attributes = _attributes(record, found)
    return found


def _attributes(record: logging.LogRecord, found: LogRecord) -> dict[str, Any]:
    attributes = {
        names.CODE_FILE_PATH: _text(record.pathname),
        names.CODE_FUNCTION_NAME: _text(record.funcName),
        names.CODE_LINE_NUMBER: record.lineno,
    }
    attributes |= {_text(name): any_value(value) for name, value in details(record).items()}
    ids = {"trace_id": format_trace_id(found.trace_id or 0), "span_id": format_span_id(found.span_id or 0)}
    return {
        name: value
        for name, value in attributes.items()
        if name not in _CORRELATION and (name not in ids or ids[name] != value)
    }


def severity(level: int) -> SeverityNumber:
    """OpenTelemetry has four degrees where `logging` has ten.

    >>> [severity(level).name for level in (5, logging.DEBUG, logging.INFO, 35, logging.CRITICAL, 99)]
    ['TRACE4', 'DEBUG', 'INFO', 'WARN4', 'FATAL', 'FATAL4']
    """
    return SeverityNumber(max(0, min(4 * (level // 10) + min(level % 10, 3) + 1, 24)))


def any_value(value: Any) -> Any:
    """A value that OTLP can carry; of any other its `repr`."""
    try:
        return _any_value(value)
    except Exception as error:  # a mapping or a text that fails, or a cycle
        raise_interrupt(error)
        return represented(value)


def _any_value(value: Any) -> Any:
    match value:
        case None | bool() | bytes() | float():
            return value
        case int():
            return value if -_LARGEST <= value < _LARGEST else str(value)
        case str():
            return _text(value)
        case Mapping():
            return {_text(str(name)): _any_value(item) for name, item in value.items()}
        case list() | tuple():
            items = [_any_value(item) for item in value]
            kinds = {type(item) for item in items if item is not None}
            return items if len(kinds) < 2 else _text(represented(value))  # older SDKs drop mixed ones
        case _:
            return _text(represented(value))


def _text(value: str | None) -> str:
    """Protobuf takes no lone surrogates, as file names may have them: one would lose the whole batch."""
    return (value or "").encode("utf-8", "backslashreplace").decode()
