"""The only room that holds OpenTelemetry instruments; everything above it asks here."""

from codoperf_otel._telemetry import names
from codoperf_otel._telemetry.attributes import SCALARS, CleanAttributes, cleaned
from codoperf_otel._telemetry.binding import (
    Binding,
    activate,
    active,
    bind,
    observe,
    refine_tracers,
    unobserve,
)
from codoperf_otel._telemetry.records import error_type
from codoperf_otel._telemetry.spans import add_event, record_error

__all__ = [
    "SCALARS",
    "Binding",
    "CleanAttributes",
    "activate",
    "active",
    "add_event",
    "bind",
    "cleaned",
    "error_type",
    "names",
    "observe",
    "record_error",
    "refine_tracers",
    "unobserve",
]
