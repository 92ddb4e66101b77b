"""What several tests share: the real SDK with in-memory exporters, bound for one test."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest
import real_stack
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from codoperf_otel import _telemetry
from codoperf_otel._readings import sampler

# a shell that starts this in the background has SIGINT ignored; the programs of tests that send it need it
signal.signal(signal.SIGINT, signal.default_int_handler)


class Telemetry:
    """The spans and metrics that one test made."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider([self.reader])
        self.tracer = self.tracer_provider.get_tracer("test")

    def spans(self, name: str | None = None) -> list[ReadableSpan]:
        """The finished spans, in the order of their ends."""
        return [span for span in self.exporter.get_finished_spans() if name in (None, span.name)]

    def span(self, name: str) -> ReadableSpan:
        """The one finished span of that name."""
        (span,) = self.spans(name)
        return span

    def parent(self, span: ReadableSpan) -> str | None:
        """The name of a span's parent."""
        if span.parent is None:
            return None
        return next(s.name for s in self.spans() if s.context.span_id == span.parent.span_id)

    def points(self, name: str) -> dict[frozenset[tuple[str, Any]], Any]:
        """The data points of a metric by their attributes; cumulative values."""
        data = self.reader.get_metrics_data()
        return {
            frozenset(point.attributes.items()): point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        }

    def values(self, name: str) -> dict[frozenset[tuple[str, Any]], Any]:
        """The sums, gauges or counts of a metric by their attributes."""
        return {
            key: getattr(p, "value", None) if hasattr(p, "value") else p.count
            for key, p in self.points(name).items()
        }


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """The package bound to in-memory exporters, and back to the global providers afterwards."""
    bound = Telemetry()
    _telemetry.bind(bound.tracer_provider, bound.meter_provider)
    yield bound
    _telemetry.bind()
    bound.tracer_provider.shutdown()
    bound.meter_provider.shutdown()


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> Iterator[sampler.Sampler]:
    """The shared sampler, for which no time passes: it never calls anybody."""
    never = sampler.Sampler(lambda: 0, lambda changed, seconds: changed.wait(10))
    monkeypatch.setattr(sampler, "shared", never)
    yield never
    for subscriber in list(never._turns):
        never.unsubscribe(subscriber)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[real_stack.Stack]:
    """A real Collector, Jaeger and Prometheus of this session."""
    folder = tmp_path_factory.mktemp("stack")
    try:
        yield real_stack.start(folder)
    finally:
        real_stack.stop(folder)
