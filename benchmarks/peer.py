"""Runs in a peer's environment: one decorator against the bare call. The last line is JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import bare
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricReader
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from pairs import cpu_a_call, ratio

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def _ours(spans: bare.Discard, _: MetricReader) -> tuple[str, Decorator]:
    import ours

    ours.configure(exporter=spans)
    return "codoperf-otel", _monitor_performance()


def _ours_without_spans(_: bare.Discard, reader: MetricReader) -> tuple[str, Decorator]:
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider

    metrics.set_meter_provider(MeterProvider([reader]))
    return "codoperf-otel", _monitor_performance()


def _monitor_performance() -> Decorator:
    from codoperf_otel import monitor_performance

    return monitor_performance


def _logfire(spans: bare.Discard, _: MetricReader) -> tuple[str, Decorator]:
    import logfire

    processors = [BatchSpanProcessor(spans)]
    logfire.configure(send_to_logfire=False, console=False, additional_span_processors=processors)
    return "logfire", logfire.instrument()


def _traceloop(spans: bare.Discard, _: MetricReader) -> tuple[str, Decorator]:
    from traceloop.sdk import Traceloop
    from traceloop.sdk.decorators import task

    Traceloop.init("benchmark", exporter=spans, telemetry_enabled=False, instruments=set())
    return "traceloop-sdk", task(name="work")


def _langfuse(spans: bare.Discard, _: MetricReader) -> tuple[str, Decorator]:
    from langfuse import Langfuse, observe

    nowhere = "http://127.0.0.1:9"
    Langfuse(public_key="pk-none", secret_key="sk-none", base_url=nowhere, span_exporter=spans)
    return "langfuse", observe()


def _openinference(spans: bare.Discard, _: MetricReader) -> tuple[str, Decorator]:
    from openinference.instrumentation import TracerProvider

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(spans))
    return "openinference-instrumentation", provider.get_tracer("benchmark").chain


def _autometrics(_: bare.Discard, reader: MetricReader) -> tuple[str, Decorator]:
    from autometrics import autometrics, init

    init(tracker="opentelemetry", exporter={"type": "otel-custom", "exporter": reader}, service_name="work")
    return "autometrics", autometrics


SPANS = {
    "ours": _ours,
    "logfire": _logfire,
    "traceloop": _traceloop,
    "langfuse": _langfuse,
    "openinference": _openinference,
}
METRICS = {"ours-without-spans": _ours_without_spans, "autometrics": _autometrics}


def main(who: str) -> None:
    """Measure one, and fail where it recorded nothing."""
    spans, reader = bare.Discard(), InMemoryMetricReader()
    package, decorator = (SPANS | METRICS)[who](spans, reader)
    pair = ratio(cpu_a_call(decorator(bare.work)), cpu_a_call(bare.call()))
    if not (spans.taken if who in SPANS else reader.get_metrics_data()):
        sys.exit(f"{who} recorded nothing")
    release = f"{package} {version(package)} (SDK {version('opentelemetry-sdk')})"
    print("\n" + json.dumps({"release": release, "text": pair.in_us(), "times": pair.times}), flush=True)
    os._exit(0)  # what some do at the end of the program is to send


if __name__ == "__main__":
    main(sys.argv[1])
