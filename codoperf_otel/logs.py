"""Log records that find their trace again: as JSON lines, or with the ids of the span in your own format.

Records that the package itself logs, under ``codoperf_otel``, carry ``trace_id`` and ``span_id`` anyway.
To send your program's records over OTLP, use `codoperf_otel.configure` with ``logs=True``.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

from codoperf_otel._telemetry.interrupts import raise_interrupt
from codoperf_otel._telemetry.records import (
    add_trace_context,
    details,
    message,
    represented,
    trace_context,
)

__all__ = ["JsonFormatter", "add_trace_context"]

_encoder = json.JSONEncoder(allow_nan=False, default=represented)


class JsonFormatter(logging.Formatter):
    """One JSON object per line.

    It has ``timestamp`` (RFC 3339, UTC), ``severity``, ``logger`` and ``message``. When there is a span, it
    has ``trace_id`` and ``span_id`` (hex). Every ``extra`` field stands under its own name, unless that is
    one of these. An exception is ``exception.type``, ``exception.message`` and ``exception.stacktrace``. A
    value that JSON cannot hold is written as its `repr`. The formatter never raises.

    A handler that formats later or in another thread, such as `logging.handlers.QueueHandler`, needs the
    filter `add_trace_context`, which takes the ids when the record is made.

    >>> import sys
    >>> handler = logging.StreamHandler(sys.stdout)
    >>> handler.setFormatter(JsonFormatter())
    >>> log = logging.getLogger("shop")
    >>> log.addHandler(handler)
    >>> log.warning("%d left", 3, extra={"article": "tea"})  # doctest: +ELLIPSIS
    {"timestamp": "...Z", "severity": "WARNING", "logger": "shop", "message": "3 left", "article": "tea"}
    >>> log.removeHandler(handler)
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record, without its end."""
        own = {
            "timestamp": _timestamp(record.created),
            "severity": record.levelname,
            "logger": record.name,
            "message": message(record),
        }
        fields = {**own, **trace_context(record), **details(record), **own}
        return "{" + ", ".join(f"{_json(name)}: {_json(value)}" for name, value in fields.items()) + "}"


def _timestamp(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    except (OverflowError, OSError, TypeError, ValueError) as error:  # not made by `logging`
        raise_interrupt(error)
        return represented(seconds)


def _json(value: object) -> str:
    """A value, or its `repr` where JSON has none: NaN, keys that are no texts, cycles."""
    try:
        return _encoder.encode(value)
    except Exception as error:
        raise_interrupt(error)
        return _encoder.encode(represented(value))
