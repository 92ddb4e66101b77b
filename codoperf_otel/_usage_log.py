"""The one log record of a call whose resources are tracked."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from opentelemetry.context import attach, detach

from codoperf_otel._telemetry import error_type

if TYPE_CHECKING:
    from codoperf_otel._context import Record
    from codoperf_otel._readings.peak import Peak

log = logging.getLogger("codoperf_otel.performance_monitor")

_MIB = 1 << 20


def log_usage(
    operation: str, record: Record, seconds: float, memory: Peak | None, failure: BaseException | None
) -> None:
    """Say what a call that has ended took, under its own span: duration in s, memory in MiB."""
    if not log.isEnabledFor(logging.INFO):
        return
    fields = {
        "operation": operation,
        "duration": seconds,
        "memory_start_mb": _mib(memory and memory.start),
        "memory_end_mb": _mib(memory and memory.end),
        "memory_peak_mb": _mib(memory and memory.peak),
    }
    if failure is not None:
        fields["error"] = error_type(failure)
    token = attach(record.context) if record.context is not None else None
    try:
        log.info(_text(fields), extra=fields)
    finally:
        if token is not None:
            detach(token)


def _mib(size: int | None) -> float | None:
    return None if size is None else size / _MIB


def _text(fields: dict[str, object]) -> str:
    memory = ", ".join(
        f"{fields[f'memory_{at}_mb']:.1f} MiB at {at}"
        for at in ("start", "end", "peak")
        if fields[f"memory_{at}_mb"] is not None
    )
    failed = f", failed with {fields['error']}" if "error" in fields else ""
    return f"{fields['operation']}: {fields['duration']:.3f} s, memory {memory or 'unknown'}{failed}"
