"""A monitored call against the bare span and histogram record that it replaces."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from threading import Thread

from opentelemetry.metrics import get_meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from pairs import ratio

import codoperf_otel
from codoperf_otel import _telemetry
from codoperf_otel.sdk import lean

CALLS = 2000
ROUNDS = 15
ATTRIBUTES = {"code.function.name": "work", "code.file.path": "work.py", "code.line.number": 1}


class Discard(SpanExporter):
    """Where spans end that only their making is measured of."""

    def export(self, spans: object) -> SpanExportResult:  # noqa: ARG002  # the SDK's name
        """Take them."""
        return SpanExportResult.SUCCESS


def run() -> Iterator[str]:
    """One line a kind of call, and one for eight threads."""
    bare = _timed(_bare())
    monitored = codoperf_otel.monitor_performance(_work)
    yield _line("monitored, no provider set up", monitored, bare)
    for spans, refine in (("the SDK's spans", lambda tracer: tracer), ("lean spans", lean.refined)):
        _telemetry.refine_tracers(refine)
        codoperf_otel.instrument(tracer_provider=_traces(), meter_provider=_metrics())
        yield _line(f"monitored, {spans}", monitored, bare)
        yield _line(f"tool with memory, {spans}", codoperf_otel.tool("work")(_work), bare)
    hot = codoperf_otel.monitor_performance("hot", max_spans_per_second=1)(_work)
    yield _line("monitored, over the span rate", hot, bare)
    quick = codoperf_otel.monitor_performance("quick", min_span_duration=1)(_work)
    yield _line("monitored, below min_span_duration", quick, bare)
    for name, call in (("monitored", monitored), ("bare", _bare())):
        _, _, times = ratio(partial(_on_threads, 8, call), partial(_on_threads, 1, call), ROUNDS)
        yield f"{name}, the same calls on 8 threads and on one: {times:.2f} x"


def _line(kind: str, call: Callable[[], object], bare: Callable[[], float]) -> str:
    ours, base, times = ratio(_timed(call), bare, ROUNDS)
    return f"{kind}: {ours * 1e6:.1f} us a call, bare {base * 1e6:.1f} us: {times:.2f} x"


def _on_threads(number: int, call: Callable[[], object]) -> float:
    def loop() -> None:
        for _ in range(8 * CALLS // number):
            call()

    threads = [Thread(target=loop) for _ in range(number)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


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
