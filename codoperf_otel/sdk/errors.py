"""What becomes of export errors: the first of each endpoint is one warning, the others are counted."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger("codoperf_otel.export")

_LONGEST_REASON = 300


class Endpoint:
    """A place that telemetry goes to, and how it fares. No locks: a fork may happen at any time."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.failing = False
        self.failures = 0
        self._tally = itertools.count(1)
        self._unwarned = [None]

    @contextmanager
    def sending(self) -> Iterator[None]:
        """What this thread's exporters log meanwhile belongs to this endpoint."""
        _thread.endpoint = self
        try:
            yield
        finally:
            _thread.endpoint = None

    def trouble(self, reason: str) -> None:
        """An attempt failed; the exporter may try again."""
        self.failing = True
        try:
            self._unwarned.pop()
        except IndexError:
            return
        reason = " ".join(reason.split())[:_LONGEST_REASON]
        log.warning("Telemetry does not reach %s: %s (more such errors are not logged)", self.label, reason)

    def sent(self) -> None:
        """An export went well."""
        self.failing = False

    def lost(self) -> None:
        """An export was given up."""
        self.failures = next(self._tally)


class _Thread(threading.local):
    endpoint: Endpoint | None = None


_thread = _Thread()


class _ErrorFilter(logging.Filter):
    """Hands what exporters log while they send to their endpoint; other exporters' records pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        endpoint = _thread.endpoint
        if endpoint is None or record.levelno < logging.WARNING:
            return True
        _thread.endpoint = None  # a handler of the user's may itself log through an exporter
        try:
            endpoint.trouble(record.getMessage())
        finally:
            _thread.endpoint = endpoint
        return False


_filter = _ErrorFilter()


def watch_loggers(exporter: object) -> None:
    """Put the filter on the loggers of the modules that an OTLP exporter's class comes from."""
    for module in {base.__module__ for base in type(exporter).__mro__}:
        if module.startswith("opentelemetry.exporter."):
            filters = logging.getLogger(module).filters
            if _filter not in filters:
                filters.insert(0, _filter)  # the exporters' own filter drops repeated records
