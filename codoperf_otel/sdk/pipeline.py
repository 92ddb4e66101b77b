"""From settings to running providers, in this process and in the children that it forks."""

from __future__ import annotations

import atexit
import logging
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from codoperf_otel import _telemetry
from codoperf_otel.instrumentation import instrument
from codoperf_otel.sdk.errors import Endpoint
from codoperf_otel.sdk.exporters import (
    Guard,
    GuardedMetricExporter,
    GuardedSpanExporter,
    metric_exporter,
    span_exporter,
)
from codoperf_otel.sdk.handle import Handle, Part
from codoperf_otel.sdk.multiprocess import flush_at_process_end
from codoperf_otel.sdk.providers import MeterSlot, TracerSlot
from codoperf_otel.sdk.resource import child_resource, make_resource
from codoperf_otel.sdk.settings import Otlp, Settings

if TYPE_CHECKING:
    from codoperf_otel.sdk.logs import Logs

_LONGEST_PAUSE = 0.1

log = logging.getLogger("codoperf_otel.sdk")


class Pipeline:
    """All that one `configure` makes. A wrong setting shows before anything global is set."""

    def __init__(self, settings: Settings, declared: Sequence[Part] = ()) -> None:
        """`declared` are the global providers that a configuration file made: they end with this."""
        self._settings = settings
        self._endpoints = {output.label: Endpoint(output.label) for output in settings.outputs}
        self._tracers, self._meters = TracerSlot(), MeterSlot()
        self._metric_outputs = self._meters.outputs(settings)
        if self._tracers.is_foreign or self._meters.is_foreign:
            log.info("A global provider is set already: what endpoint= and file= ask for is added to it")
        spans, metrics = self._span_exporters(), self._metric_exporters()
        logs = self._logs()
        self._kept_guards: list[Guard[Any]] = [exporter.guard for exporter in spans]
        self._kept_guards += logs.guards if logs else ()
        self._guards = [*self._kept_guards, *(exporter.guard for exporter in metrics)]
        for guard in self._guards:
            guard.open()
        processors = [BatchSpanProcessor(exporter) for exporter in spans]
        standing = getattr(self._tracers.provider, "resource", None)
        self._resource = standing or make_resource(settings.service_name)
        self._kept_parts = [*declared, *self._tracers.add(processors, self._resource)]
        self._kept_parts += logs.start(self._resource) if logs else ()
        self._readers = self._make_readers(metrics)
        metric_parts = self._meters.add(self._readers, self._resource)
        self.handle = Handle(
            settings.shutdown_timeout, (*self._kept_parts, *metric_parts), tuple(self._guards)
        )
        instrument(
            tracer_provider=self._tracers.provider,
            meter_provider=self._meters.provider,
            system=settings.system,
        )
        self._instruments = _telemetry.active().instruments
        self._attend()

    def _span_exporters(self) -> list[GuardedSpanExporter]:
        outputs = self._tracers.outputs(self._settings)
        return [span_exporter(output, self._endpoints[output.label]) for output in outputs]

    def _logs(self) -> Logs | None:
        if not self._settings.logs:
            return None
        from codoperf_otel.sdk.logs import Logs  # 15 ms, for those who send logs

        return Logs(self._settings, self._endpoints)

    def _metric_exporters(self) -> list[GuardedMetricExporter]:
        return [
            metric_exporter(output, self._endpoints[output.label], self._settings)
            for output in self._metric_outputs
        ]

    def _make_readers(
        self, exporters: Sequence[GuardedMetricExporter]
    ) -> list[PeriodicExportingMetricReader]:
        seconds = self._settings.metric_export_interval
        interval = None if seconds is None else seconds * 1000
        return [PeriodicExportingMetricReader(exporter, interval) for exporter in exporters]

    def _attend(self) -> None:
        """Be there at forks and at the end."""
        atexit.register(self.handle.shutdown)
        flush_at_process_end(self.handle)
        if hasattr(os, "register_at_fork"):
            # registered after the SDK's own, which renew the span processors' queues and threads
            os.register_at_fork(
                before=self._before_fork,
                after_in_parent=self._after_fork_in_parent,
                after_in_child=self._after_fork_in_child,
            )

    def _before_fork(self) -> None:
        """Over gRPC a child cannot count on exports if the fork falls into one of its parent's."""
        deadline = time.monotonic() + _LONGEST_PAUSE
        for guard in self._guards:
            if isinstance(guard.output, Otlp) and guard.output.protocol == "grpc":
                guard.pause(max(0.0, deadline - time.monotonic()))

    def _after_fork_in_parent(self) -> None:
        for guard in self._guards:
            guard.resume()

    def _after_fork_in_child(self) -> None:
        for guard in self._guards:
            guard.inherit()
        if not self.handle.is_running:
            return
        self.handle.set_parts(self._kept_parts, self._kept_guards)
        try:
            self._renew_metrics()
        except Exception:
            log.warning("This process cannot report metrics of its own", exc_info=True)
        flush_at_process_end(self.handle)

    def _renew_metrics(self) -> None:
        """Measure anew. The global provider goes on with other libraries' metrics, from the parent's counts.

        It is not shut down, nor are its readers: that would send the parent's totals once more, or hang.
        """
        if not self._metric_outputs or _telemetry.active().instruments is not self._instruments:
            return
        exporters = self._metric_exporters()
        guards = [exporter.guard for exporter in exporters]
        readers = self._make_readers(exporters)
        parent_id = self._resource.attributes.get(SERVICE_INSTANCE_ID)
        resource = child_resource(getattr(self._tracers.provider, "resource", self._resource), parent_id)
        provider = MeterProvider(readers, resource=resource, shutdown_on_exit=False)
        self._instruments = _telemetry.bind(self._tracers.provider, provider).instruments
        self.handle.set_parts((*self._kept_parts, provider), (*self._kept_guards, *guards))
        self._guards += guards
        self._readers += readers  # kept: where one is gone, older SDKs print an error at the next fork
