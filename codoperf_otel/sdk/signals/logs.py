"""The program's log records: their global provider, exporters and bridge. Loaded only where they are sent."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from opentelemetry._logs import get_logger_provider, set_logger_provider
from opentelemetry.sdk._logs import (
    LoggerProvider,
    LogRecordProcessor,
    ReadableLogRecord,
    ReadWriteLogRecord,
)
from opentelemetry.sdk._logs._internal import SynchronousMultiLogRecordProcessor
from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    ConsoleLogRecordExporter,
    LogRecordExporter,
    LogRecordExportResult,
)
from opentelemetry.sdk.resources import Resource

from codoperf_otel.sdk.errors import Destination
from codoperf_otel.sdk.exporter_factory import exporter_factory
from codoperf_otel.sdk.fork_hooks import outlive
from codoperf_otel.sdk.guard import Guard
from codoperf_otel.sdk.handle import Part
from codoperf_otel.sdk.lines import Lines
from codoperf_otel.sdk.log_bridge import LogBridge
from codoperf_otel.sdk.otlp_json.logs import encode_logs
from codoperf_otel.sdk.outputs import Output
from codoperf_otel.sdk.own_resource import with_resource
from codoperf_otel.sdk.providers import GlobalProvider
from codoperf_otel.sdk.queues import Queue
from codoperf_otel.sdk.redaction import redacting
from codoperf_otel.sdk.sendable import Sendable
from codoperf_otel.sdk.settings import Settings

_OTLP = {
    "grpc": "opentelemetry.exporter.otlp.proto.grpc._log_exporter:OTLPLogExporter",
    "http/protobuf": "opentelemetry.exporter.otlp.proto.http._log_exporter:OTLPLogExporter",
}
_SPOOLED = "codoperf_otel.sdk.spool.log_exporter:SpoolLogExporter"


class Logs:
    """The log records of a `configure`. The guards are to be opened before it is started."""

    def __init__(self, settings: Settings, destinations: Mapping[str, Destination]) -> None:
        self.global_provider = GlobalLoggerProvider()
        self._exporters = [
            _exporter(output, destinations[output.label], redacting(settings.hidden))
            for output in self.global_provider.outputs(settings)
        ]
        self.guards = [exporter.guard for exporter in self._exporters]
        self.queues = [Queue(guard.output, guard.destination) for guard in self.guards]

    def start(self, resource: Resource) -> Sequence[Part]:
        """Send records from now on; returns what has to be flushed and shut down."""
        self._processors = list(map(QueuedLogs, self._exporters, self.queues))
        outlive(self._processors)
        parts = self.global_provider.add(self._processors, resource)
        bridge = LogBridge(self.global_provider.provider)
        bridge.start()
        return (bridge, *parts)

    def leave(self) -> None:
        """Once it is shut down: records of later set-ups do not come by."""
        self.global_provider.remove(self._processors)

    def adopt(self, resource: Resource) -> None:
        """In a forked child: send under this resource, unless someone else's provider decides it."""
        for queue in self.queues:
            queue.begin_anew()
        if not self.global_provider.is_foreign:
            for exporter in self._exporters:
                exporter.resource = resource


class GlobalLoggerProvider(GlobalProvider):
    """The global logger provider."""

    signal = "logs"
    adder = "add_log_record_processor"
    advice = "Call configure() before it is set: it is not the SDK's, and takes no log record processors."

    def __init__(self) -> None:
        super().__init__(get_logger_provider())

    def add(self, processors: Sequence[LogRecordProcessor], resource: Resource) -> Sequence[Part]:
        """Let records go through these processors; returns what has to be flushed and shut down."""
        if self.is_free:
            self._set(OurLoggerProvider(resource), set_logger_provider)
        for processor in processors:
            self.provider.add_log_record_processor(processor)
        return [self.provider] if self.is_free else processors


class OurLoggerProvider(LoggerProvider):
    """The SDK's provider, which lets processors go again."""

    def __init__(self, resource: Resource) -> None:
        self.__processors = _Processors()  # type: ignore[no-untyped-call]
        super().__init__(resource, shutdown_on_exit=False, multi_log_record_processor=self.__processors)

    def remove(self, processors: Collection[LogRecordProcessor]) -> None:
        """Ask these processors no more."""
        self.__processors.remove(processors)


class _Processors(SynchronousMultiLogRecordProcessor):
    def remove(self, processors: Collection[LogRecordProcessor]) -> None:
        with self._lock:
            self._log_record_processors = tuple(
                each for each in self._log_record_processors if each not in processors
            )


class QueuedLogs(BatchLogRecordProcessor):
    """The SDK's batch processor behind a queue that loses nothing unnoticed."""

    def __init__(self, exporter: GuardedLogExporter, queue: Queue) -> None:
        self.__queue = queue
        exporter.taken = queue.take
        super().__init__(exporter, max_queue_size=queue.inner_size)

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Hand a record on."""
        if self.__queue.has_room():
            super().on_emit(log_record)
            next(self.__queue.free)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Export what there is."""
        with self.__queue.flushing():
            return super().force_flush(timeout_millis)

    def shutdown(self) -> None:
        """Export what there is and end."""
        try:
            super().shutdown()  # type: ignore[no-untyped-call]
        finally:
            self.__queue.end()


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

    def __init__(self, guard: Guard[LogRecordExporter], sendable: Sendable) -> None:
        self.guard = guard
        self._sendable = sendable
        self.resource: Resource | None = None
        self.taken: Callable[[int], object] = int

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Hand the records on."""
        if not self.taken(len(batch)):
            return LogRecordExportResult.FAILURE

        def export(exporter: LogRecordExporter) -> LogRecordExportResult:
            return exporter.export(self._sendable.logs(with_resource(batch, self.resource)))

        return self.guard.send(export, LogRecordExportResult.FAILURE, len(batch))

    def force_flush(self, timeout_millis: float = 10_000) -> bool:  # noqa: ARG002
        """Nothing is held back."""
        return True

    def shutdown(self) -> None:
        """Close the guard."""
        self.guard.close()


def _exporter(output: Output, destination: Destination, sendable: Sendable) -> GuardedLogExporter:
    factory = exporter_factory(
        output,
        destination,
        otlp=_OTLP,
        file=FileLogExporter,
        console=lambda: ConsoleLogRecordExporter(formatter=_printed),
        spooled=_SPOOLED,
    )
    return GuardedLogExporter(Guard(output, destination, factory), sendable)


def _printed(readable: ReadableLogRecord) -> str:
    """A log record as the SDK prints it, but as it is sent."""
    sent = ReadableLogRecord(readable.log_record, readable.resource, readable.instrumentation_scope)
    return f"{sent.to_json()}\n"
