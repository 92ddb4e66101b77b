"""Spans, events and metrics as the plain data that `codoperf_otel.testing` offers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class CapturedEvent:
    """One event of a span."""

    name: str
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CapturedSpan:
    """One span that ended in the block.

    ``parent`` is the name of its parent, where that was captured too, and ``parent_id`` the id of any
    parent. ``start_time`` is in Unix nanoseconds, ``duration`` in seconds, ids are hexadecimal; ``kind`` and
    ``status`` are OpenTelemetry's words, such as ``INTERNAL`` and ``ERROR``.
    """

    name: str
    parent: str | None
    attributes: dict[str, Any]
    events: tuple[CapturedEvent, ...]
    status: str
    status_description: str | None
    kind: str
    start_time: int
    duration: float
    trace_id: str
    span_id: str
    parent_id: str | None


@dataclass(frozen=True, slots=True)
class CapturedPoint:
    """What a metric says for one set of attributes.

    Of a histogram ``count`` and ``sum`` are what the block recorded. Of a counter ``value`` is what the
    block added, of up-down counters and gauges the value at its end. The others are None.
    """

    attributes: dict[str, Any]
    value: float | None = None
    count: int | None = None
    sum: float | None = None


@dataclass(frozen=True, slots=True)
class CapturedMetric:
    """A metric and its points; ``kind`` is ``histogram``, ``counter``, ``updowncounter`` or ``gauge``."""

    name: str
    kind: str
    unit: str
    points: tuple[CapturedPoint, ...]

    def point(self, attributes: Mapping[str, Any] | None = None) -> CapturedPoint:
        """The one point that has these attributes, among others.

        Raises:
            AssertionError: none has, or several have; it lists the attributes of all points.
        """
        __tracebackhide__ = True
        wanted = attributes or {}
        found = [point for point in self.points if wanted.items() <= point.attributes.items()]
        if len(found) != 1:
            there = listed(str(point.attributes) for point in self.points)
            raise AssertionError(f"{len(found)} points of {self.name} have {wanted!r} among\n{there}")
        return found[0]


def listed(lines: Iterable[str]) -> str:
    """Lines as they are shown below a message."""
    return "\n".join(f"  {line}" for line in lines) or "  none"
