"""What was read, as plain data: spans, metric points and the lines that could not be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from codoperf_otel._telemetry import names

CHILD_PROCESS_CPU_TIME = "codoperf.cpu.child_process_time"

Scalar = str | bool | int | float
Attributes = Mapping[str, Scalar]


@dataclass(slots=True)
class Event:
    """A span event."""

    name: str
    attributes: Attributes


@dataclass(slots=True)
class Span:
    """A span; ``start`` and ``end`` are nanoseconds since the epoch, ``end`` is 0 where it is not known.

    A figure that was not measured is ``None``.
    """

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    start: int
    end: int
    service: str
    attributes: Attributes
    events: list[Event]
    failed: bool
    message: str

    @property
    def wall(self) -> float | None:
        """Seconds from start to end."""
        return (self.end - self.start) / 1e9 if self.end >= self.start else None

    @property
    def cpu(self) -> float | None:
        """Seconds of CPU, those of the calls inside included."""
        return number(self.attributes, names.CPU_TIME)

    @property
    def self_cpu(self) -> float | None:
        """Seconds of CPU, those of the monitored calls inside left out."""
        own = number(self.attributes, names.CPU_SELF_TIME)
        return self.cpu if own is None else own

    @property
    def suspended(self) -> float | None:
        """Seconds suspended in ``await`` or ``yield``."""
        return number(self.attributes, names.SUSPENDED_TIME)

    @property
    def child_process_cpu(self) -> float | None:
        """Seconds of CPU of the child processes that this span started."""
        return number(self.attributes, CHILD_PROCESS_CPU_TIME)

    @property
    def memory_peak(self) -> float | None:
        """Highest memory of the process while the span was open, bytes."""
        return number(self.attributes, names.PROCESS_MEMORY_PEAK)

    @property
    def memory_growth(self) -> float | None:
        """How far the peak is above the memory at the span's start, bytes."""
        start, peak = number(self.attributes, names.PROCESS_MEMORY_START), self.memory_peak
        return None if start is None or peak is None else peak - start

    @property
    def agent(self) -> str | None:
        """The agent in force."""
        return string(self.attributes, names.GEN_AI_AGENT_NAME)

    @property
    def error_type(self) -> str | None:
        """The kind of error, ``None`` where the span did not fail."""
        if not self.failed:
            return None
        return string(self.attributes, names.ERROR_TYPE) or self._exception(names.EXCEPTION_TYPE) or "error"

    @property
    def error_message(self) -> str:
        """What the status or else the exception says, possibly nothing."""
        return self.message or self._exception(names.EXCEPTION_MESSAGE) or ""

    def _exception(self, key: str) -> str | None:
        found = (string(event.attributes, key) for event in self.events if event.name == names.EXCEPTION)
        return next(found, None)


@dataclass(slots=True)
class MetricPoint:
    """The value of one series: of a histogram the sum, with the count beside it."""

    name: str
    unit: str
    attributes: Attributes
    value: float
    count: int | None


@dataclass(slots=True)
class Problem:
    """A line, or a part of one, that was skipped."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


@dataclass(slots=True)
class Telemetry:
    """All that was read from one file or folder."""

    source: str
    spans: list[Span] = field(default_factory=list)
    points: list[MetricPoint] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def number(attributes: Attributes, key: str) -> float | None:
    """The attribute as a number, ``None`` where it is absent or none."""
    value = attributes.get(key)
    return None if isinstance(value, str | bool) else value


def string(attributes: Attributes, key: str) -> str | None:
    """The attribute as text, ``None`` where it is absent or none."""
    value = attributes.get(key)
    return value if isinstance(value, str) else None
