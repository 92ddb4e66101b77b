"""What was recorded and did not arrive: the counts behind the metric `codoperf.telemetry.dropped`."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable
from itertools import islice
from operator import length_hint
from typing import TYPE_CHECKING

from opentelemetry.metrics import Observation

from codoperf_otel._telemetry import names
from codoperf_otel.sdk.outputs import Signal

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricsData  # the SDK is loaded only where it is used

WHAT: dict[Signal, str] = {"traces": "spans", "metrics": "metric points", "logs": "log records"}
"""What a signal consists of."""


class Tally:
    """A count. Threads, signal handlers and finalizers add to it, and a fork may come at any time: no lock.

    >>> tally = Tally()
    >>> tally.add(); tally.add(511); tally.total
    512
    """

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = iter(range(sys.maxsize))

    def add(self, number: int = 1) -> None:
        """Count so many more, in one step."""
        deque(islice(self.left, number), maxlen=0)

    @property
    def total(self) -> int:
        """How many were counted."""
        return sys.maxsize - length_hint(self.left)


_lost: dict[tuple[Signal, str], Tally] = {}


def count(signal: Signal, reason: str, items: int) -> None:
    """Count what was not delivered."""
    _lost.setdefault((signal, reason), Tally()).add(items)


def observations() -> Iterable[Observation]:
    """The totals of this process."""
    return [
        Observation(tally.total, {names.SIGNAL: signal, names.DROP_REASON: reason})
        for (signal, reason), tally in list(_lost.items())
    ]


def begin_anew() -> None:
    """In a forked child: what was lost before is its parent's."""
    _lost.clear()


def points_of(data: MetricsData) -> int:
    """How many metric points there are."""
    metrics = (
        metric for group in data.resource_metrics for scope in group.scope_metrics for metric in scope.metrics
    )
    return sum(len(metric.data.data_points) for metric in metrics)
