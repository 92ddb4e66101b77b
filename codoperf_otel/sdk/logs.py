"""The program's log records: their global provider, exporters and bridge. Loaded only where they are sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from opentelemetry._logs import get_logger_provider, set_logger_provider
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor, ReadableLogRecord
from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    ConsoleLogRecordExporter,
    LogRecordExporter,
    LogRecordExportResult,
)
from opentelemetry.sdk.resources import Resource

from codoperf_otel.sdk.errors import Endpoint
from codoperf_otel.sdk.exporters import Guard, maker
from codoperf_otel.sdk.file_exporter import Lines
from codoperf_otel.sdk.handle import Part
from codoperf_otel.sdk.log_bridge import LogBridge
from codoperf_otel.sdk.otlp_json.logs import encode_logs
from codoperf_otel.sdk.providers import Slot
from codoperf_otel.sdk.settings import Output, Settings


class Logs:
    """The third signal of a `configure`. Its guards are to be opened before it is started."""

    def __init__(self, settings: Settings, endpoints: Mapping[str, Endpoint]) -> None:
        self._slot = LoggerSlot()
        outputs = self._slot.outputs(settings)
        self._exporters = [log_exporter(output, endpoints[output.label]) for output in outputs]
        self.guards = [exporter.guard for exporter in self._exporters]

    def start(self, resource: Resource) -> Sequence[Part]:
        """Send records from now on; gives what has to be flushed and shut down."""
        processors = [BatchLogRecordProcessor(exporter) for exporter in self._exporters]
        parts = self._slot.add(processors, resource)
        bridge = LogBridge(self._slot.provider)
        bridge.start()
        return (bridge, *parts)


class LoggerSlot(Slot):
    """The global logger provider."""

    signal = "logs"
    adder = "add_log_record_processor"
    advice = "Call configure() before it is set: it is not the SDK's, and takes no log record processors."

    def __init__(self) -> None:
        super().__init__(get_logger_provider())

    def add(self, processors: Sequence[LogRecordProcessor], resource: Resource) -> Sequence[Part]:
        """Let records go through these processors; gives what has to be flushed and shut down."""
        if self.is_free:
            self._fill(LoggerProvider(resource, shutdown_on_exit=False), set_logger_provider)
        for processor in processors:
            self.provider.add_log_record_processor(processor)
        return [self.provider] if self.is_free else processors


class FileLogExporter(LogRecordExporter):
    """Appends log records to the file at `path`, which it makes with mode 0600 in a folder of mode 0700."""

    def __init__(self, path: Path) -> None:
        self._lines = Lines(path)

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Append one line."""
        self._lines.append(encode_logs(batch))
        return LogRecordExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:  # noqa: ARG002
        """Nothing is held back."""
        return True

    def shutdown(self) -> None:
        """Close the file."""
        self._lines.close()


class GuardedLogExporter(LogRecordExporter):
    """A log record exporter under a guard."""

    def __init__(self, guard: Guard[LogRecordExporter]) -> None:
        self.guard = guard

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Hand the records on."""
        return self.guard.send(lambda exporter: exporter.export(batch), LogRecordExportResult.FAILURE)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:  # noqa: ARG002
        """Nothing is held back."""
        return True

    def shutdown(self) -> None:
        """Close the guard."""
        self.guard.close()


def log_exporter(output: Output, endpoint: Endpoint) -> GuardedLogExporter:
    """The guarded log record exporter of an output.

    Raises:
        ImportError: the output needs a package that is not installed.
    """
    return GuardedLogExporter(
        Guard(output, endpoint, maker(output, FileLogExporter, ConsoleLogRecordExporter))
    )
