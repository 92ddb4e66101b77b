"""A monitored call against the bare span and histogram record that it replaces."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from opentelemetry.metrics import get_meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from pairs import ratio

import codoperf_otel

CALLS = 2000
ROUNDS = 15
ATTRIBUTES = {"code.function.name": "work", "code.file.path": "work.py", "code.line.number": 1}


class Discard(SpanExporter):
    """Where spans end that only their making is measured of."""

    def export(self, spans: object) -> SpanExportResult:  # noqa: ARG002  # the SDK's name
        """Take them."""
        return SpanExportResult.SUCCESS


def run() -> Iterator[str]:
    """One line a kind of call."""
    bare = _timed(_bare())
    codoperf_otel.instrument(tracer_provider=_traces(), meter_provider=_metrics())
    kinds = {
        "monitor_performance": codoperf_otel.monitor_performance(_work),
        "tool, with memory": codoperf_otel.tool("work")(_work),
    }
    for kind, call in kinds.items():
        ours, base, times = ratio(_timed(call), bare, ROUNDS)
        yield f"{kind}: {ours * 1e6:.1f} us a call, bare {base * 1e6:.1f} us: {times:.2f} x"


def _work() -> None:
    pass


def _bare() -> Callable[[], None]:
    tracer = _traces().get_tracer("bare")
    duration = get_meter("bare", meter_provider=_metrics()).create_histogram("duration", "s")

    def call() -> None:
        began = time.perf_counter()
        with tracer.start_as_current_span("work", attributes=ATTRIBUTES):
            _work()
        duration.record(time.perf_counter() - began, {"code.function.name": "work"})

    return call


def _timed(call: Callable[[], object]) -> Callable[[], float]:
    def seconds_a_call() -> float:
        began = time.perf_counter()
        for _ in range(CALLS):
            call()
        return (time.perf_counter() - began) / CALLS

    return seconds_a_call


def _traces() -> TracerProvider:
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Discard()))
    return provider


def _metrics() -> MeterProvider:
    return MeterProvider([InMemoryMetricReader()])
