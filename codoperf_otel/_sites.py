"""Sites: what is the same at every call of one function or operation, made once, at decoration."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from codoperf_otel import _telemetry
from codoperf_otel._capture import Capture
from codoperf_otel._statistics import Attributes, Cell, Family, cell, with_agent
from codoperf_otel._summary import Entry

if TYPE_CHECKING:
    from codoperf_otel._context import Record
    from codoperf_otel._readings.peak import Peak

MAX_PLACES = 1000
SECOND_NS = 1_000_000_000


class Place:
    """A site under one agent: the cell it is counted in and the attributes its span starts with."""

    __slots__ = ("attributes", "cell")

    def __init__(self, cell: Cell, attributes: Attributes) -> None:
        self.cell = cell
        self.attributes = attributes


class SpanRate:
    """At most so many spans a second; metrics and statistics count every call all the same."""

    __slots__ = ("_left", "_limit", "_since")

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._left = limit
        self._since = 0

    def allows(self, now_ns: int) -> bool:
        """Whether the call that begins now has a span."""
        if now_ns - self._since >= SECOND_NS:
            self._since = now_ns
            self._left = self._limit
        if self._left < 1:
            return False
        self._left -= 1
        return True


Report = Callable[["Record", float, "Peak | None", BaseException | None], None]
"""Told of each call that has ended: its record, its seconds, the memory it took, how it failed."""


_DERIVED = {"is_selective", "places"}


class Site:
    """What a function, an operation, an agent or a tool is called and where its calls are counted."""

    __slots__ = (
        "agent",
        "attributes",
        "capture",
        "cell_name",
        "duration_attributes",
        "family",
        "histogram",
        "is_selective",
        "memory",
        "min_span_ns",
        "name",
        "places",
        "report",
        "sink",
        "span_name",
        "span_rate",
    )

    def __init__(
        self,
        name: str,
        span_name: str,
        *,
        family: Family,
        cell_name: str,
        histogram: str,
        sink: Callable[[Entry], None],
        attributes: Attributes,
        duration_attributes: Attributes | None = None,
        agent: str | None = None,
        memory: bool = True,
        capture: Capture | None = None,
        span_rate: SpanRate | None = None,
        min_span_ns: int = 0,
        report: Report | None = None,
    ) -> None:
        self.name = name
        self.span_name = span_name
        self.family = family
        self.cell_name = cell_name
        self.histogram = histogram
        self.sink = sink
        self.attributes = attributes
        self.duration_attributes = duration_attributes
        self.agent = agent
        self.memory = memory
        self.capture = capture
        self.span_rate = span_rate
        self.min_span_ns = min_span_ns
        self.report = report
        self.is_selective = span_rate is not None or min_span_ns > 0
        self.places: dict[str | None, Place] = {}

    def __reduce__(self) -> tuple[Callable[[Attributes], Site], tuple[Attributes]]:
        """A decorated function goes to another process without what was counted in this one."""
        return _remake, ({name: getattr(self, name) for name in self.__slots__ if name not in _DERIVED},)

    def add_place(self, agent: str | None) -> Place:
        """Make the place under an agent, at the first call there."""
        measured = self.duration_attributes
        if measured is not None:
            measured = with_agent(measured, agent)
        attributes = _telemetry.cleaned(with_agent(self.attributes, agent))
        made = Place(cell(self.family, self.cell_name, agent, measured), attributes)
        if len(self.places) < MAX_PLACES:
            self.places[agent] = made
        return made


def _remake(values: Attributes) -> Site:
    return Site(**values)
