"""This package set up as a program sets it up, with exporters that send nothing."""

from __future__ import annotations

import os
from typing import Any

import bare
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.trace.sampling import Sampler


class Kept(MetricExporter):
    """Where metrics end: the last export is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.last = MetricsData([])

    def export(self, metrics_data: MetricsData, *_: Any, **__: Any) -> MetricExportResult:
        """Keep them."""
        self.last = metrics_data
        return MetricExportResult.SUCCESS

    def force_flush(self, *_: Any) -> bool:
        """Nothing is held back."""
        return True

    def shutdown(self, *_: Any, **__: Any) -> None:
        """Nothing is open."""


def configure(
    *, lean: bool = True, sampler: Sampler | None = None, exporter: bare.Discard | None = None
) -> Kept:
    """Everything on, exemplars included; `lean` false takes the SDK's own spans and histogram."""
    os.environ |= {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}
    os.environ["CODOPERF_OTEL_LEAN_SPANS"] = str(lean).lower()
    trace.set_tracer_provider(bare.traces(sampler, exporter))
    kept = Kept()
    if lean:
        os.environ["OTEL_METRICS_EXPORTER"] = "console"
        _replace_console(kept)
    else:
        metrics.set_meter_provider(bare.metrics())

    import codoperf_otel  # not at the top: what the variables say may be read now

    codoperf_otel.configure("benchmark")
    return kept


def _replace_console(kept: Kept) -> None:
    """Let what `configure` would print end here: of its exporters it is the one without an address."""
    from codoperf_otel.sdk.signals import metrics as signal

    signal.ConsoleMetricExporter = lambda: kept  # type: ignore[misc,assignment]
