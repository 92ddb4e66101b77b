"""Reporting the readings: of the process and the interpreter, and of the whole machine where wanted."""

from __future__ import annotations

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from codoperf_otel import _telemetry
from codoperf_otel._readings import process_metrics, system_metrics


def start(
    tracer_provider: TracerProvider | None, meter_provider: MeterProvider | None, *, system: bool
) -> None:
    """Send this package's telemetry to these providers, and begin to report the readings there."""
    _telemetry.bind(tracer_provider, meter_provider)
    for readings in (process_metrics, system_metrics) if system else (process_metrics,):
        readings.start()
        for name, source in readings.SOURCES.items():
            _telemetry.observe(name, source)


def stop() -> None:
    """Report no readings, and send the rest to the global providers."""
    for name in (*process_metrics.SOURCES, *system_metrics.SOURCES):
        _telemetry.unobserve(name)
    _telemetry.bind()
