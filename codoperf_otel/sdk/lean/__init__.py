"""Lean spans and metrics: equal to the SDK's at less than half their cost, or the SDK's own."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from opentelemetry.trace import Tracer

from codoperf_otel._telemetry.interrupts import raise_interrupt

if TYPE_CHECKING:
    from codoperf_otel.sdk.lean.starts import StartRule

__all__ = ["lean_or_own", "lean_tracer", "metrics_start_rule"]

log = logging.getLogger("codoperf_otel.sdk")


def lean_tracer(tracer: Tracer) -> Tracer | None:
    """A tracer of lean spans, with the sampler and the processors of `tracer`.

    None where lean spans would differ from its own; then use `tracer` itself. They would where it is not
    exactly the SDK's, is disabled, counts its own spans (``OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED``), or is
    of a release in which a trial finds a difference.
    """
    if _counts_itself():
        return None
    try:
        from codoperf_otel.sdk.lean.trial import tried

        return tried(tracer)
    except Exception as error:
        raise_interrupt(error)
        log.debug("Spans of this SDK cannot be lean", exc_info=True)
        return None


def lean_or_own(tracer: Tracer) -> Tracer:
    """A tracer of lean spans where spans can be lean, else `tracer` itself."""
    return lean_tracer(tracer) or tracer


def metrics_start_rule() -> StartRule | None:
    """The rule by which points of durations that are kept in this package start.

    None where points would differ from the SDK's own: it counts what it does itself
    (``OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED``), or is of a release in which a trial finds a difference.
    """
    if _counts_itself():
        return None
    try:
        from codoperf_otel.sdk.lean.metrics_trial import start_rule

        return start_rule()
    except Exception as error:
        raise_interrupt(error)
        log.debug("Metrics of this SDK cannot be lean", exc_info=True)
        return None


def _counts_itself() -> bool:
    return os.environ.get("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "").strip().lower() == "true"
