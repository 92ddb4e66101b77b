"""The only room that holds OpenTelemetry instruments. Everything above asks it for them."""

from codoperf_otel._telemetry import names
from codoperf_otel._telemetry.attributes import SCALARS, CleanAttributes, cleaned
from codoperf_otel._telemetry.binding import (
    Binding,
    activate,
    active,
    begin_counters_anew,
    bind,
    observe,
    set_tracer_wrapper,
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
    "begin_counters_anew",
    "bind",
    "cleaned",
    "error_type",
    "names",
    "observe",
    "record_error",
    "set_tracer_wrapper",
    "unobserve",
]
