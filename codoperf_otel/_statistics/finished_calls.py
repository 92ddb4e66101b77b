"""Finished calls as users see them. Loaded only where somebody looks at them one by one."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import Any

from codoperf_otel._statistics.ledgers import Entry
from codoperf_otel._telemetry.records import represented


@dataclasses.dataclass
class PerformanceMetrics:
    """One finished call.

    ``execution_time`` is in seconds, ``memory_usage_mb`` the resident memory of the process at its end
    in MiB, ``cpu_percent`` 100 x CPU time / execution time, ``timestamp`` the end in Unix seconds.
    Memory and CPU are None where they could not be measured.
    """

    function_name: str
    execution_time: float
    memory_usage_mb: float | None
    cpu_percent: float | None
    timestamp: float = dataclasses.field(default_factory=time.time)
    metadata: dict[str, Any] = dataclasses.field(default_factory=dict)


def as_metrics(entry: Entry) -> PerformanceMetrics:
    """An entry of a ledger as users see it."""
    ledger = entry[-1]
    (wall_ns,), (memory,), (cpu_share,) = ledger.columns([entry])
    return PerformanceMetrics(
        ledger.name,
        wall_ns / 1e9,
        memory,
        None if cpu_share is None else 100 * cpu_share,
        entry[0] / 1e9,
        ledger.metadata(entry),
    )


def as_json(metrics: PerformanceMetrics) -> str:
    """A finished call as one JSON object. What JSON has no form for is represented as text."""
    fields = {field.name: getattr(metrics, field.name) for field in dataclasses.fields(metrics)}
    try:
        return json.dumps(fields, default=represented, skipkeys=True)
    except (ValueError, RecursionError):  # what holds itself
        return json.dumps(fields | {"metadata": represented(metrics.metadata)})
