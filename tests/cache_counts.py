"""What tests of caches ask of the metrics."""

from __future__ import annotations

from codoperf_otel._telemetry import names


def lookups(telemetry, cache):
    """How often a cache was asked, by the result."""
    counted = telemetry.values(names.CACHE_LOOKUPS)
    mine = {key: n for key, n in counted.items() if (names.CACHE_NAME, cache) in key}
    return {dict(key)[names.CACHE_RESULT]: n for key, n in mine.items()}
