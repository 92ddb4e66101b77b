"""What a monitored call replaces: a span and a histogram record by the SDK's own API."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from opentelemetry.metrics import Histogram
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import Tracer

NAME = "work"
SPAN_ATTRIBUTES = {"code.function.name": NAME, "code.file.path": "work.py", "code.line.number": 1}
QUEUE = 1 << 16  # long enough that eight threads fill it with nothing dropped
METRIC_ATTRIBUTES = {"code.function.name": NAME}


class Discard(SpanExporter):
    """Where spans end that only their making is measured of."""

    def __init__(self) -> None:
        self.taken = 0

    def export(self, spans: Any) -> SpanExportResult:
        """Count them."""
        self.taken += len(spans)
        return SpanExportResult.SUCCESS


def traces(
    sampler: Sampler | None = None, exporter: SpanExporter | None = None, *processors: SpanProcessor
) -> TracerProvider:
    """A tracer provider with these processors and a batch processor whose exporter discards."""
    provider = TracerProvider(sampler=sampler)
    for processor in processors:
        provider.add_span_processor(processor)
    provider.add_span_processor(BatchSpanProcessor(exporter or Discard(), QUEUE))
    return provider


def metrics() -> MeterProvider:
    """A meter provider that nobody collects from."""
    return MeterProvider([InMemoryMetricReader()])


def instruments(sampler: Sampler | None = None, *processors: SpanProcessor) -> tuple[Tracer, Histogram]:
    """The tracer and the histogram of the bare call."""
    histogram = metrics().get_meter("bare").create_histogram("duration", "s")
    return traces(sampler, None, *processors).get_tracer("bare"), histogram


def work() -> None:
    """What is called: nothing to run and nothing to serialize, so that all that costs is the recording."""


def call(sampler: Sampler | None = None, *processors: SpanProcessor) -> Callable[[], None]:
    """The bare call."""
    tracer, duration = instruments(sampler, *processors)

    def bare() -> None:
        began = time.perf_counter()
        with tracer.start_as_current_span(NAME, attributes=SPAN_ATTRIBUTES):
            work()
        duration.record(time.perf_counter() - began, METRIC_ATTRIBUTES)

    return bare
