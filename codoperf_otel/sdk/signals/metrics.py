"""Metrics: their global provider, readers and exporters."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opentelemetry.metrics import get_meter_provider, set_meter_provider
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider, ObservableCounter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ConsoleMetricExporter,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
    ResourceMetrics,
)
from opentelemetry.sdk.metrics.view import Aggregation, ExponentialBucketHistogramAggregation
from opentelemetry.sdk.resources import Resource

from codoperf_otel._telemetry import names
from codoperf_otel.sdk.errors import Destination
from codoperf_otel.sdk.exporter_factory import exporter_factory
from codoperf_otel.sdk.fork_hooks import outlive
from codoperf_otel.sdk.guard import Guard
from codoperf_otel.sdk.handle import Part
from codoperf_otel.sdk.lean import metrics_start_rule
from codoperf_otel.sdk.lean.exporter import LeanMetricExporter, LeanMetricReader
from codoperf_otel.sdk.lean.provider import LeanMeterProvider
from codoperf_otel.sdk.lean.starts import StartRule
from codoperf_otel.sdk.lines import Lines
from codoperf_otel.sdk.losses import points_of
from codoperf_otel.sdk.otlp_json.metrics import encode_metrics
from codoperf_otel.sdk.outputs import Output
from codoperf_otel.sdk.patient_reader import PatientMetricReader
from codoperf_otel.sdk.providers import GlobalProvider
from codoperf_otel.sdk.redaction import SeriesRedaction, redacting
from codoperf_otel.sdk.sendable import Sendable
from codoperf_otel.sdk.settings import Settings

_OTLP = {
    "grpc": "opentelemetry.exporter.otlp.proto.grpc.metric_exporter:OTLPMetricExporter",
    "http/protobuf": "opentelemetry.exporter.otlp.proto.http.metric_exporter:OTLPMetricExporter",
}
_SPOOLED = "codoperf_otel.sdk.spool.exporters:SpoolMetricExporter"
_DELTA: dict[str, tuple[type, ...]] = {
    "cumulative": (),
    "delta": (Counter, ObservableCounter, Histogram),
    "lowmemory": (Counter, Histogram),
}


class Metrics:
    """The metrics of a `configure`. The guards are to be opened before it is started."""

    def __init__(self, settings: Settings, destinations: Mapping[str, Destination], *, lean: bool) -> None:
        self.global_provider = GlobalMeterProvider()
        self._settings = settings
        self._destinations = destinations
        self._temporality = dict.fromkeys(_DELTA[settings.temporality], AggregationTemporality.DELTA)
        self._is_exponential = settings.histogram_aggregation.startswith("base2")
        can_be_lean = lean and not (self.global_provider.is_foreign or self._is_exponential)
        self._start_rule = metrics_start_rule() if can_be_lean else None
        self._outputs = self.global_provider.outputs(settings)
        self._exporters = self._make_exporters()

    @property
    def guards(self) -> list[Guard[MetricExporter]]:
        """The guards of the exporters that this process uses."""
        return [exporter.guard for exporter in self._exporters]

    def start(self, resource: Resource) -> Sequence[Part]:
        """Send metrics from now on; returns what has to be flushed and shut down."""
        if self.global_provider.is_foreign:
            return self.global_provider.add(self._make_readers(resource))
        return [self.global_provider.replace(self._make_provider(resource))]

    def renew(self, resource: Resource) -> MeterProvider | None:
        """In a forked child: a provider that measures anew; None where metrics are not sent.

        The global one is not shut down, nor are its readers: that would send the parent's totals once more,
        or hang.
        """
        if not self._outputs:
            return None
        self._exporters = self._make_exporters()
        return self._make_provider(resource)

    def inherited(self) -> Sequence[Part]:
        """In a forked child: the global provider, by which other libraries go on from the parent's counts."""
        if self.global_provider.is_foreign or not self._outputs:
            return ()
        return (Inherited(self.global_provider.provider),)

    def _make_provider(self, resource: Resource) -> MeterProvider:
        readers = self._make_readers(resource)
        if self._start_rule is not None:
            return LeanMeterProvider(readers, resource)
        return MeterProvider(readers, resource=resource, shutdown_on_exit=False)

    def _make_exporters(self) -> list[GuardedMetricExporter]:
        return [self._make_exporter(output) for output in self._outputs]

    def _make_exporter(self, output: Output) -> GuardedMetricExporter:
        destination = self._destinations[output.label]
        factory = exporter_factory(
            output,
            destination,
            otlp=_OTLP,
            file=FileMetricExporter,
            console=ConsoleMetricExporter,
            spooled=_SPOOLED,
        )
        return GuardedMetricExporter(
            Guard(output, destination, factory),
            self._temporality,
            {Histogram: ExponentialBucketHistogramAggregation()} if self._is_exponential else {},
            redacting(self._settings.hidden, SeriesRedaction),
        )

    def _make_readers(self, resource: Resource) -> list[PeriodicExportingMetricReader]:
        made = [self._make_reader(exporter, resource, self._start_rule) for exporter in self._exporters]
        outlive(made)
        return made

    def _make_reader(
        self, exporter: GuardedMetricExporter, resource: Resource, rule: StartRule | None
    ) -> PeriodicExportingMetricReader:
        seconds = self._settings.metric_export_interval
        interval = None if seconds is None else seconds * 1000
        if rule is None:
            return PatientMetricReader(exporter, interval)
        return LeanMetricReader(LeanMetricExporter(exporter, self._temporality, resource, rule), interval)


class Inherited:
    """A provider of the parent's. Its readers were not renewed, so it is flushed and never shut down."""

    def __init__(self, provider: MeterProvider) -> None:
        self._provider = provider

    def force_flush(self, timeout_millis: float, /) -> bool:
        """Send what there is."""
        return self._provider.force_flush(timeout_millis)

    def shutdown(self) -> None:
        """Send what there is."""
        self._provider.force_flush()


class GlobalMeterProvider(GlobalProvider):
    """The global meter provider."""

    signal = "metrics"
    adder = "add_metric_reader"
    advice = (
        "Call configure() before it is set, or use opentelemetry-sdk 1.43 or later, "
        "whose MeterProvider takes further readers."
    )

    def __init__(self) -> None:
        super().__init__(get_meter_provider())

    def add(self, readers: Sequence[PeriodicExportingMetricReader]) -> Sequence[Part]:
        """Let the metrics of someone else's provider go through these readers too."""
        for reader in readers:
            self.provider.add_metric_reader(reader)
        return readers

    def replace(self, provider: MeterProvider) -> MeterProvider:
        """Let `provider` be the global one, or stand in for ours that is there."""
        self._set(provider, set_meter_provider)
        return provider


class FileMetricExporter(MetricExporter):
    """Appends metrics to the file at `path`, which it makes with mode 0600 in a folder of mode 0700."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._lines = Lines(path)

    def export(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> MetricExportResult:
        """Append one line, unless there is nothing to report."""
        if metrics_data.resource_metrics:
            self._lines.append(encode_metrics(metrics_data))
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:  # noqa: ARG002
        """Nothing is held back."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:  # noqa: ARG002
        """Close the file."""
        self._lines.close()


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
        sendable: Sendable,
    ) -> None:
        super().__init__(temporality, aggregation)
        self.guard = guard
        self._sendable = sendable
        self._pid = os.getpid()

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        """Hand the metrics on."""
        if self._pid != os.getpid():
            metrics_data = _without_ours(metrics_data)
            if not metrics_data.resource_metrics:
                return MetricExportResult.SUCCESS

        def export(exporter: MetricExporter) -> MetricExportResult:
            return exporter.export(self._sendable.metrics(metrics_data), timeout_millis, **kwargs)

        return self.guard.send(export, MetricExportResult.FAILURE, points_of(metrics_data))

    def force_flush(self, timeout_millis: float = 10_000) -> bool:  # noqa: ARG002
        """Nothing is held back."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:  # noqa: ARG002
        """Close the guard."""
        self.guard.close()


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
