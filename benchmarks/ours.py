"""This package set up as a program sets it up, with providers that send nothing."""

from __future__ import annotations

import os

import bare
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace.sampling import Sampler


def configure(
    *,
    lean: bool = True,
    sampler: Sampler | None = None,
    exporter: bare.Discard | None = None,
    meter_provider: MeterProvider | None = None,
) -> None:
    """Everything on, exemplars included, under global providers; `lean` false takes the SDK's own spans."""
    os.environ |= {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}
    os.environ["CODOPERF_OTEL_LEAN_SPANS"] = str(lean).lower()
    trace.set_tracer_provider(bare.traces(sampler, exporter))
    metrics.set_meter_provider(meter_provider or bare.metrics())

    import codoperf_otel  # not at the top: what the variables say may be read now

    codoperf_otel.configure("benchmark")
