"""Send this package's telemetry, and the readings of the process, to providers that you set up."""

from __future__ import annotations

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from codoperf_otel import _telemetry

__all__ = ["instrument", "uninstrument"]


def instrument(
    *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
) -> None:
    """Send spans and metrics to these providers, and begin to report ``process.*`` and ``cpython.gc.*``.

    Spans and metrics of monitored functions, operations, agents and caches go to the global providers
    without this call; the readings of the process and of the interpreter begin with it. Calling it again
    changes the providers and doubles nothing. A forked child reports its own readings.

    Args:
        tracer_provider: where spans go; the global one if None.
        meter_provider: where metrics go; the global one if None.

    >>> instrument()
    >>> uninstrument()
    """
    from codoperf_otel._readings import (
        process,
    )  # not at the top: a program that never calls this has no use for it

    _telemetry.bind(tracer_provider, meter_provider)
    process.start()
    for name, source in process.SOURCES.items():
        _telemetry.observe(name, source)


def uninstrument() -> None:
    """Stop the readings and go back to the global providers; monitored code goes on reporting there."""
    from codoperf_otel._readings import process

    for name in process.SOURCES:
        _telemetry.unobserve(name)
    _telemetry.bind()
