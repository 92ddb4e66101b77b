"""The spool's exporter of log records; loaded only where they are sent."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult

from codoperf_otel.sdk.spool.outlet import Outlet


class SpoolLogExporter(LogRecordExporter):
    """Exports log records to the spool."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Have them on disk."""
        self._outlet.put(encode_logs(batch).SerializeToString(), len(batch))
        return LogRecordExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Send what there is."""
        return self._outlet.force_flush(timeout_millis)

    def shutdown(self) -> None:
        """Send what can be sent."""
        self._outlet.shutdown()
