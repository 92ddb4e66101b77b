"""Lean spans: equal to the SDK's at less than half their cost, under the user's own tracer provider."""

from __future__ import annotations

import logging
import os

from opentelemetry.trace import Tracer

__all__ = ["lean_tracer", "refined"]

log = logging.getLogger("codoperf_otel.sdk")


def lean_tracer(tracer: Tracer) -> Tracer | None:
    """A tracer of lean spans that leave through the same sampler and processors.

    None where spans cannot be lean without a difference: `tracer` is not exactly the SDK's, is disabled,
    counts its own spans (``OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED``), or is of a release in which a lean
    span does not come out as its own. Use `tracer` itself then.
    """
    if os.environ.get("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "").strip().lower() == "true":
        return None
    try:
        from codoperf_otel.sdk.lean.trial import tried

        return tried(tracer)
    except Exception:
        log.debug("Spans of this SDK cannot be lean", exc_info=True)
        return None


def refined(tracer: Tracer) -> Tracer:
    """A tracer of lean spans where spans can be lean, else `tracer` itself."""
    return lean_tracer(tracer) or tracer
