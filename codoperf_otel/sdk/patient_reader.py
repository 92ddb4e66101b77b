"""A metric reader whose last collection may take longer than its interval."""

from __future__ import annotations

from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

LEAST_MS = 10_000
"""The SDK's default for collections that somebody asks for."""


class PatientMetricReader(PeriodicExportingMetricReader):
    """A periodic reader. The SDK gives its last collection no more time than there is between two.

    With a short interval on a busy machine, what was counted since the collection before would be lost.
    """

    def collect(self, timeout_millis: float = LEAST_MS) -> None:  # type: ignore[misc]  # no other way
        """Collect and export."""
        super().collect(max(timeout_millis, LEAST_MS))
