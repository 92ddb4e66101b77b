"""The imports of this process as spans, each when it has ended."""

from __future__ import annotations

import logging
import threading

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, get_value

from codoperf_otel._imports.costs import tree
from codoperf_otel._imports.spans import send
from codoperf_otel._imports.tracing import DURATION, Record, Tracer, complete
from codoperf_otel._readings import memory
from codoperf_otel._telemetry.interrupts import raise_interrupt

log = logging.getLogger("codoperf_otel.imports")


class _Thread(threading.local):
    is_sending = False


_here = _Thread()


class ImportWatch:
    """Makes spans of the imports that take *threshold* seconds or more; a part of the pipeline."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._tracer = Tracer(self._ended, memory.rss)

    def start(self) -> None:
        """Do so from now on."""
        self._tracer.start()

    def force_flush(self, timeout_millis: int, /) -> bool:  # noqa: ARG002
        """Nothing waits."""
        return True

    def shutdown(self) -> None:
        """Make no more."""
        self._tracer.stop()

    def _ended(self, records: list[Record]) -> None:
        """Send what a thread has imported, unless telemetry itself did it. Never raises."""
        is_long = any(record[DURATION] >= self._threshold * 1e9 for record in records)
        if not is_long or _here.is_sending or get_value(_SUPPRESS_INSTRUMENTATION_KEY):
            return
        _here.is_sending = True
        try:
            complete(records)
            send(tree(records), self._threshold)
        except Exception as error:
            raise_interrupt(error)
            log.warning("the import of %s is not recorded", records[0][0], exc_info=True)
        finally:
            _here.is_sending = False
