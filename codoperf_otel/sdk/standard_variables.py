"""The standard ``OTEL_*`` variables: how they are read, and the check of those that the SDK reads itself."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import NamedTuple

from codoperf_otel._environment_variables import setting_error
from codoperf_otel.sdk.outputs import Signal

_NUMBERS = (
    "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT",
    "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_METRIC_EXPORT_INTERVAL",
    "OTEL_METRIC_EXPORT_TIMEOUT",
)
BATCHES: dict[Signal, str] = {"traces": "OTEL_BSP", "logs": "OTEL_BLRP"}
"""How the variables of the batch processors begin."""

_WHOLE_NUMBERS = ("EXPORT_TIMEOUT", "MAX_EXPORT_BATCH_SIZE", "MAX_QUEUE_SIZE", "SCHEDULE_DELAY")
_QUEUE_SIZE, _BATCH_SIZE = 2048, 512  # OpenTelemetry's defaults


class Setting(NamedTuple):
    """A variable or an argument, and its value."""

    name: str
    value: str


class Variables:
    """The variables that are set: an empty one counts as unset, as OpenTelemetry has it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def get(self, *names: str) -> Setting | None:
        """The first of these variables that is set."""
        values = ((name, self._environ.get(name, "").strip()) for name in names)
        return next((Setting(name, value) for name, value in values if value), None)

    def otlp(self, signal: Signal, what: str) -> Setting | None:
        """The OTLP variable of the signal, else the one of all signals."""
        return self.get(*otlp_names(signal, what))

    def choice(self, name: str | tuple[str, ...], allowed: tuple[str, ...], default: str = "") -> str:
        """The value of a variable that has a few; the first is the default unless another is given."""
        setting = self.get(*((name,) if isinstance(name, str) else name))
        if setting is None:
            return default or allowed[0]
        if setting.value.lower() not in allowed:
            raise setting_error(*setting, f"one of {', '.join(allowed)}")
        return setting.value.lower()


def otlp_names(signal: Signal, what: str) -> tuple[str, str]:
    """The OTLP variables of a signal and of all signals."""
    return f"OTEL_EXPORTER_OTLP_{signal.upper()}_{what}", f"OTEL_EXPORTER_OTLP_{what}"


def queue_size(signal: Signal) -> int:
    """How many spans or log records may wait for an exporter."""
    setting = Variables(os.environ).get(f"{BATCHES[signal]}_MAX_QUEUE_SIZE")
    return int(setting.value) if setting else _QUEUE_SIZE


def check_numbers(variables: Variables) -> None:
    """Check what the SDK would refuse with an error of its own, or would leave for a default.

    Raises:
        ValueError: a variable is no number above 0, or the batches are larger than their queue.
    """
    for name in _NUMBERS:
        _check_number(variables.get(name))
    for batch in BATCHES.values():
        for what in _WHOLE_NUMBERS:
            _check_whole_number(variables.get(f"{batch}_{what}"))
        _check_sizes(variables, f"{batch}_MAX_QUEUE_SIZE", f"{batch}_MAX_EXPORT_BATCH_SIZE")


def _check_number(setting: Setting | None) -> None:
    if setting is not None and not _is_positive(setting.value):
        raise setting_error(*setting, "a number above 0")


def _is_positive(text: str) -> bool:
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False


def _check_whole_number(setting: Setting | None) -> None:
    if setting is not None and not (setting.value.isdecimal() and int(setting.value)):
        raise setting_error(*setting, "a whole number above 0")


def _check_sizes(variables: Variables, queue_name: str, batch_name: str) -> None:
    queue = variables.get(queue_name) or Setting(queue_name, str(_QUEUE_SIZE))
    batch = variables.get(batch_name) or Setting(batch_name, str(_BATCH_SIZE))
    if int(batch.value) <= int(queue.value):
        return
    if variables.get(queue_name) is None:
        raise setting_error(*batch, f"at most {queue_name}, which is {queue.value}")
    raise setting_error(*queue, f"at least {batch_name}, which is {batch.value}")
