"""What the SDK sees of the spool: exporters whose export ends on disk."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from codoperf_otel._telemetry.interrupts import raise_interrupt
from codoperf_otel.sdk.losses import points_of
from codoperf_otel.sdk.spool.outlet import Outlet


class _Interrupts(logging.Filter):
    """Raises a time-out again that the encoder of attributes has swallowed, and logs."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1]:
            raise_interrupt(record.exc_info[1])
        return True


logging.getLogger("opentelemetry.exporter.otlp.proto.common._internal").addFilter(_Interrupts())


class SpoolSpanExporter(SpanExporter):
    """Exports spans to the spool."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Have them on disk."""
        self._outlet.put(encode_spans(spans).SerializeToString(), len(spans))
        return SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send what there is."""
        return self._outlet.force_flush(timeout_millis)

    def shutdown(self) -> None:
        """Send what can be sent."""
        self._outlet.shutdown()


class SpoolMetricExporter(MetricExporter):
    """Exports metrics to the spool."""

    def __init__(self, outlet: Outlet) -> None:
        super().__init__()
        self._outlet = outlet

    def export(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> MetricExportResult:
        """Have them on disk."""
        self._outlet.put(encode_metrics(metrics_data).SerializeToString(), points_of(metrics_data))
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Send what there is."""
        return self._outlet.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:  # noqa: ARG002
        """Send what can be sent."""
        self._outlet.shutdown()
