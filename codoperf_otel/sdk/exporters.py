"""The exporters of each output, each under a guard: it survives forks, counts errors, can be cut short."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib import import_module
from threading import Lock
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from opentelemetry.sdk.metrics import Counter, Histogram, ObservableCounter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ConsoleMetricExporter,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    ResourceMetrics,
)
from opentelemetry.sdk.metrics.view import Aggregation, ExponentialBucketHistogramAggregation
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SpanExporter, SpanExportResult

from codoperf_otel._telemetry import names
from codoperf_otel.sdk.errors import Endpoint, watch_loggers
from codoperf_otel.sdk.file_exporter import FileMetricExporter, FileSpanExporter
from codoperf_otel.sdk.settings import INSTALL, Console, File, Otlp, Output, Settings, wrong

if TYPE_CHECKING:
    from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult

_CLASSES = {
    ("traces", "grpc"): "opentelemetry.exporter.otlp.proto.grpc.trace_exporter:OTLPSpanExporter",
    ("metrics", "grpc"): "opentelemetry.exporter.otlp.proto.grpc.metric_exporter:OTLPMetricExporter",
    ("logs", "grpc"): "opentelemetry.exporter.otlp.proto.grpc._log_exporter:OTLPLogExporter",
    ("traces", "http/protobuf"): "opentelemetry.exporter.otlp.proto.http.trace_exporter:OTLPSpanExporter",
    ("metrics", "http/protobuf"): "opentelemetry.exporter.otlp.proto.http.metric_exporter:OTLPMetricExporter",
    ("logs", "http/protobuf"): "opentelemetry.exporter.otlp.proto.http._log_exporter:OTLPLogExporter",
}
_COMPRESSIONS = {
    "grpc": "grpc:Compression",
    "http/protobuf": "opentelemetry.exporter.otlp.proto.http:Compression",
}
_COMPRESSION_MEMBERS = {"none": "NoCompression", "gzip": "Gzip", "deflate": "Deflate"}
_DELTA: dict[str, tuple[type, ...]] = {
    "cumulative": (),
    "delta": (Counter, ObservableCounter, Histogram),
    "lowmemory": (Counter, Histogram),
}

Exporter = TypeVar("Exporter", SpanExporter, MetricExporter, "LogRecordExporter")
Result = TypeVar("Result", SpanExportResult, MetricExportResult, "LogRecordExportResult")


class Guard(Generic[Exporter]):
    """One exporter: made anew in a forked child, which must not use its parent's connection."""

    def __init__(self, output: Output, endpoint: Endpoint, make: Callable[[], Exporter]) -> None:
        self.output = output
        self.endpoint = endpoint
        self._make: Callable[[], Exporter] = make
        self._busy = Lock()
        self._paused: list[None] = []
        self._pid = 0
        self._unclosed = [None]

    def open(self) -> None:
        """Make the exporter now, not at its first export: what is wrong with its settings shows here."""
        self._exporter: Exporter = self._make()
        self._pid = os.getpid()
        self._unclosed = [None]

    @property
    def is_busy(self) -> bool:
        """True while it exports."""
        return self._busy.locked()

    def send(self, export: Callable[[Exporter], Result], failure: Result) -> Result:
        """Let the exporter export; what goes wrong is the endpoint's to tell."""
        with self._busy, self.endpoint.sending():
            try:
                if self._pid != os.getpid():
                    self.open()
                result = export(self._exporter)
            except Exception as error:
                self.endpoint.trouble(f"{type(error).__name__}: {error}")
                result = failure
        self.endpoint.lost() if result is failure else self.endpoint.sent()
        return result

    def close(self) -> None:
        """Shut the exporter down, once; this also ends its retries, and over gRPC the call it is in."""
        try:
            self._unclosed.pop()
        except IndexError:
            return
        if self._pid == os.getpid():
            with self.endpoint.sending():
                self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def pause(self, seconds: float) -> None:
        """Before a fork: hold exports back, and wait for one that is under way."""
        if self._busy.acquire(timeout=0 if self.endpoint.failing else seconds):
            self._paused.append(None)

    def resume(self) -> None:
        """After a fork, in the parent."""
        try:
            self._paused.pop()  # of two threads that fork at once, one has it
        except IndexError:
            return
        self._busy.release()

    def inherit(self) -> None:
        """After a fork, in the child: who was exporting is not here."""
        self._busy = Lock()
        self._paused.clear()


class GuardedSpanExporter(SpanExporter):
    """A span exporter under a guard."""

    def __init__(self, guard: Guard[SpanExporter]) -> None:
        self.guard = guard

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Hand the spans on."""
        return self.guard.send(lambda exporter: exporter.export(spans), SpanExportResult.FAILURE)

    def shutdown(self) -> None:
        """Close the guard."""
        self.guard.close()


class GuardedMetricExporter(MetricExporter):
    """A metric exporter under a guard.

    In a forked child its reader goes on from the parent's counts. This package's own metrics have a new
    reader there, so they are left out here.
    """

    def __init__(
        self,
        guard: Guard[MetricExporter],
        temporality: dict[type, AggregationTemporality],
        aggregation: dict[type, Aggregation],
    ) -> None:
        super().__init__(temporality, aggregation)
        self.guard = guard
        self._pid = os.getpid()

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        """Hand the metrics on."""
        if self._pid != os.getpid():
            metrics_data = _without_ours(metrics_data)
            if not metrics_data.resource_metrics:
                return MetricExportResult.SUCCESS
        return self.guard.send(
            lambda exporter: exporter.export(metrics_data, timeout_millis, **kwargs),
            MetricExportResult.FAILURE,
        )

    def force_flush(self, timeout_millis: float = 10_000) -> bool:  # noqa: ARG002
        """Nothing is held back."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:  # noqa: ARG002
        """Close the guard."""
        self.guard.close()


def span_exporter(output: Output, endpoint: Endpoint) -> GuardedSpanExporter:
    """The guarded span exporter of an output.

    Raises:
        ImportError: the output needs a package that is not installed.
    """
    return GuardedSpanExporter(Guard(output, endpoint, maker(output, FileSpanExporter, ConsoleSpanExporter)))


def metric_exporter(output: Output, endpoint: Endpoint, settings: Settings) -> GuardedMetricExporter:
    """The guarded metric exporter of an output; raises as `span_exporter` does."""
    delta = dict.fromkeys(_DELTA[settings.temporality], AggregationTemporality.DELTA)
    exponential = settings.histogram_aggregation.startswith("base2")
    return GuardedMetricExporter(
        Guard(output, endpoint, maker(output, FileMetricExporter, ConsoleMetricExporter)),
        delta,
        {Histogram: ExponentialBucketHistogramAggregation()} if exponential else {},
    )


def maker(
    output: Output, file: Callable[..., Exporter], console: Callable[[], Exporter]
) -> Callable[[], Exporter]:
    """What makes the exporter of an output; raises as `span_exporter` does."""
    match output:
        case File():
            return lambda: _open_file(output, file)
        case Console():
            return console
        case Otlp():
            return _otlp_maker(output)


def _open_file(output: File, exporter: Callable[..., Exporter]) -> Exporter:
    try:
        return exporter(output.path)
    except OSError as error:
        folder = str(output.path.parent)
        raise wrong("file", folder, f"a folder that can be written ({error.strerror})") from error


def _otlp_maker(output: Otlp) -> Callable[[], Any]:
    exporter = _imported(_CLASSES[output.signal, output.protocol], output)
    compression = _imported(_COMPRESSIONS[output.protocol], output)[_COMPRESSION_MEMBERS[output.compression]]

    def make() -> Any:
        made = exporter(endpoint=output.url, compression=compression)
        watch_loggers(made)
        return made

    return make


def _imported(reference: str, output: Otlp) -> Any:
    module, _, name = reference.partition(":")
    try:
        return getattr(import_module(module), name)
    except ImportError as error:
        raise ImportError(f"OTLP over {output.protocol} needs {error.name}: {INSTALL}") from error


def _without_ours(data: MetricsData) -> MetricsData:
    groups = (
        ResourceMetrics(
            group.resource,
            [scope for scope in group.scope_metrics if scope.scope.name != names.SCOPE],
            group.schema_url,
        )
        for group in data.resource_metrics
    )
    return MetricsData([group for group in groups if group.scope_metrics])
