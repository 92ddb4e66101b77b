"""What becomes of export errors: the first of each destination is one warning, the others are counted."""

from __future__ import annotations

import itertools
import logging
import re
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from urllib.parse import quote

from codoperf_otel._calls.short_repr import cut
from codoperf_otel._once import Once
from codoperf_otel._telemetry import names
from codoperf_otel.sdk import losses, wrong_protocol
from codoperf_otel.sdk.losses import Tally
from codoperf_otel.sdk.outputs import Otlp, Signal

log = logging.getLogger("codoperf_otel.export")

_LONGEST_REASON = 300
_REFUSED = "Connection refused"
_QUERY = re.compile(r"""\?[^\s"']+""")  # the client writes it in a form of its own


class Destination:
    """A place that telemetry goes to, and how it fares. No locks: a fork may happen at any time."""

    def __init__(self, label: str, secrets: Collection[str] = (), output: Otlp | None = None) -> None:
        """`secrets` are texts that no message may show; `output` is asked what it speaks, if it fails."""
        self.label = label
        self._output = output
        self._secrets = sorted({*secrets, *map(quote, secrets)}, key=len, reverse=True)
        self.failing = False
        self.failures = 0
        self._tally = itertools.count(1)
        self.lost_items = Tally()
        self._is_first_trouble = Once()

    @property
    def is_endpoint(self) -> bool:
        """Whether it may keep others waiting for an answer."""
        return self._output is not None

    @contextmanager
    def sending(self) -> Iterator[None]:
        """What this thread's exporters log meanwhile belongs to this destination."""
        _thread.destination = self
        try:
            yield
        finally:
            _thread.destination = None

    def trouble(self, reason: str) -> None:
        """An attempt failed; the exporter may try again."""
        self.failing = True
        if self._is_first_trouble():
            if _REFUSED in reason:
                reason = "connection refused: no collector listens there (`codoperf doctor` checks each step)"
            reason = (self._output and wrong_protocol.advice(self._output, reason)) or reason
            log.warning(
                "Telemetry does not reach %s: %s (more such errors are not logged)",
                self.label,
                self.shown(reason),
            )

    def shown(self, reason: str) -> str:
        """A reason on one line, not too long, and without what no message may show."""
        return cut(" ".join(self.hidden(reason).split()), _LONGEST_REASON)

    def hidden(self, text: str) -> str:
        """A text without what no message may show."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def sent(self) -> None:
        """An export went well."""
        self.failing = False

    def refused(self, signal: Signal, items: int) -> None:
        """An export was given up."""
        self.failures = next(self._tally)
        self.lost(signal, names.EXPORT_FAILED, items)

    def lost(self, signal: Signal, reason: str, items: int = 1) -> None:
        """So many spans, points or records do not arrive here."""
        self.lost_items.add(items)
        losses.count(signal, reason, items)


class _Thread(threading.local):
    destination: Destination | None = None


_thread = _Thread()


class _ErrorFilter(logging.Filter):
    """Hands what exporters log while they send to their destination; other exporters' records pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        destination = _thread.destination
        if destination is None or record.levelno < logging.WARNING:
            return True
        _thread.destination = None  # a handler of the user's may itself log through an exporter
        try:
            destination.trouble(record.getMessage())
        finally:
            _thread.destination = destination
        return False


_filter = _ErrorFilter()


class _SecretFilter(logging.Filter):
    """Hides what no message may show in what the HTTP client logs of our requests: it logs whole URLs."""

    def filter(self, record: logging.LogRecord) -> bool:
        if (destination := _thread.destination) is not None:
            shown = destination.hidden(_QUERY.sub("?***", record.getMessage()))
            record.msg, record.args = "%s", (shown,)
        return True


_hides_secrets = _SecretFilter()
for _name in ("urllib3.connectionpool", "urllib3.util.retry"):
    logging.getLogger(_name).addFilter(_hides_secrets)


def watch_loggers(exporter: object) -> None:
    """Put the filter on the loggers of the modules that an OTLP exporter's class comes from."""
    for module in {base.__module__ for base in type(exporter).__mro__}:
        if module.startswith("opentelemetry.exporter."):
            filters = logging.getLogger(module).filters
            if _filter not in filters:
                filters.insert(0, _filter)  # the exporters' own filter drops repeated records
