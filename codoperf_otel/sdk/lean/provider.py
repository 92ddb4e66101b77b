"""The meter provider whose readers are all this package's, until another reader is added."""

from __future__ import annotations

import os
from collections.abc import Sequence

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.resources import Resource

from codoperf_otel._telemetry.binding import ALWAYS, NEVER, SAMPLED, Instruments

_FILTERS = {name: name for name in (ALWAYS, NEVER, SAMPLED)}


class LeanMeterProvider(MeterProvider):
    """Has durations kept in this package. They go into the SDK's histograms for other readers only."""

    def __init__(self, readers: Sequence[MetricReader], resource: Resource) -> None:
        self.__instruments: Instruments | None = None
        self.__has_others = False
        super().__init__(readers, resource=resource, shutdown_on_exit=False)

    def keep_durations(self, instruments: Instruments) -> None:
        """Keep the durations of this provider's instruments; the SDK has checked the variable."""
        self.__instruments = instruments
        instruments.exemplars = _FILTERS[os.environ.get("OTEL_METRICS_EXEMPLAR_FILTER", SAMPLED)]
        instruments.keeps_durations = True
        instruments.records_durations = self.__has_others

    if hasattr(MeterProvider, "add_metric_reader"):

        def add_metric_reader(self, metric_reader: MetricReader) -> None:
            """Add a reader, for which durations are recorded from now on."""
            super().add_metric_reader(metric_reader)
            self.__has_others = True
            if self.__instruments is not None:
                self.__instruments.records_durations = True

    def shutdown(self, timeout_millis: float = 30_000) -> None:
        """Send what there is and end; nothing is kept afterwards."""
        try:
            super().shutdown(timeout_millis)
        finally:
            if self.__instruments is not None:
                self.__instruments.keeps_durations = False
