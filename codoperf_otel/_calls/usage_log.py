"""The one log record of a call whose resources are tracked."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from opentelemetry.context import Context, attach, get_current

from codoperf_otel._calls.sites import Site
from codoperf_otel._telemetry import error_type, names

log = logging.getLogger("codoperf_otel.performance_monitor")

_MIB = 1 << 20


def log_usage(
    site: Site,
    context: Context | None,
    seconds: float,
    measured: Mapping[str, Any],
    failure: BaseException | None,
) -> None:
    """Say what a call that has ended took, under its own span: duration in s, memory in MiB."""
    if not log.isEnabledFor(logging.INFO):
        return
    fields: dict[str, Any] = {
        "operation": site.name,
        "duration": seconds,
        "memory_start_mb": _mib(measured.get(names.PROCESS_MEMORY_START)),
        "memory_end_mb": _mib(measured.get(names.PROCESS_MEMORY_END)),
        "memory_peak_mb": _mib(measured.get(names.PROCESS_MEMORY_PEAK)),
    }
    if failure is not None:
        fields["error"] = error_type(failure)
    around = get_current()
    try:
        if context is not None:
            attach(context)
        log.info(_text(fields), extra=fields)
    finally:
        attach(around)


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
