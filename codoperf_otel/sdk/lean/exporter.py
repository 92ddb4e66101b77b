"""The exporter and the reader that put durations beside what the SDK collected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from threading import local
from time import time_ns
from typing import Any

from opentelemetry.sdk.metrics import Histogram
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    ScopeMetrics,
)
from opentelemetry.sdk.resources import Resource

from codoperf_otel._calls import call_durations  # noqa: F401  # here, so that no fork comes while it is imported
from codoperf_otel._telemetry import durations
from codoperf_otel.sdk.lean import points
from codoperf_otel.sdk.lean.starts import StartRule, Starts
from codoperf_otel.sdk.patient_reader import LEAST_MS, PatientMetricReader
from codoperf_otel.sdk.suppression import suppressed


class _Exported(local):
    """How many exports this thread has made."""

    number = 0


class LeanMetricExporter(MetricExporter):
    """An exporter of the SDK's metrics and of the durations that are kept in this package."""

    def __init__(
        self,
        exporter: MetricExporter,
        temporality: dict[type, AggregationTemporality],
        resource: Resource,
        rule: StartRule,
    ) -> None:
        super().__init__(temporality)
        self.inner = exporter
        self.exported = _Exported()
        self._resource = resource
        self._temporality = temporality.get(Histogram, AggregationTemporality.CUMULATIVE)
        deltas = self._temporality is AggregationTemporality.DELTA
        self._starts = Starts(rule, deltas=deltas)
        self._position = durations.Position(takes=deltas)
        durations.keep_for(self._position)

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        """Export what the SDK collected, and the durations."""
        self.exported.number += 1
        ended = next(_end_times(metrics_data), None) or time_ns()
        whole = _with_durations(metrics_data, self._durations(ended))
        return self.inner.export(whole, timeout_millis, **kwargs)

    def export_durations(self, timeout_millis: float) -> None:
        """Export the durations alone, if there are any."""
        found = self._durations(time_ns())
        if found:
            self.inner.export(points.alone(found, self._resource), timeout_millis)

    def _durations(self, ended: int) -> list[Metric]:
        found = self._starts.of_collection(durations.collect(self._position), ended)
        return points.metrics(found, self._temporality, ended)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Flush the exporter."""
        return self.inner.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Keep no more durations, and shut the exporter down."""
        durations.forget(self._position)
        self.inner.shutdown(timeout_millis, **kwargs)


class LeanMetricReader(PatientMetricReader):
    """A reader that exports the durations alone where the SDK has collected nothing."""

    def __init__(self, exporter: LeanMetricExporter, export_interval_millis: float | None) -> None:
        self.__exporter = exporter
        super().__init__(exporter, export_interval_millis)

    def collect(self, timeout_millis: float = LEAST_MS) -> None:  # type: ignore[misc]  # no other way to know
        """Collect and export; the exporter is not called where the SDK collected nothing."""
        before = self.__exporter.exported.number
        super().collect(timeout_millis)
        if self.__exporter.exported.number == before:
            with suppressed():
                self.__exporter.export_durations(timeout_millis)


def _end_times(data: MetricsData) -> Iterator[int]:
    for group in data.resource_metrics:
        for scope in group.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    yield point.time_unix_nano


def _with_durations(data: MetricsData, found: list[Metric]) -> MetricsData:
    """The same data with these metrics, and without the SDK's own of the same durations."""
    group, *others = data.resource_metrics
    theirs = [scope for scope in group.scope_metrics if scope.scope != points.SCOPE]
    ours = [metric for scope in group.scope_metrics if scope not in theirs for metric in _rest(scope)]
    scopes = [*theirs, points.of_scope([*ours, *found])] if ours or found else theirs
    return replace(data, resource_metrics=[replace(group, scope_metrics=scopes), *others])


def _rest(scope: ScopeMetrics) -> Iterator[Metric]:
    return (metric for metric in scope.metrics if metric.name not in durations.HISTOGRAMS)
