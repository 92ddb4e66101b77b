"""What was recorded and not delivered, as the metric of it says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from codoperf_otel._report.model import MetricPoint, string
from codoperf_otel._telemetry import names


@dataclass(slots=True)
class Drop:
    """How many spans, metric points or log records were lost for one reason."""

    signal: str
    reason: str
    items: int


def drops(points: Iterable[MetricPoint]) -> list[Drop]:
    """All that was dropped, by signal and reason, over all processes."""
    found: Counter[tuple[str, str]] = Counter()
    for point in points:
        if point.name == names.TELEMETRY_DROPPED:
            key = string(point.attributes, names.SIGNAL), string(point.attributes, names.DROP_REASON)
            found[key[0] or "telemetry", key[1] or "unknown"] += int(point.value)
    return [Drop(signal, reason, items) for (signal, reason), items in sorted(found.items()) if items]
