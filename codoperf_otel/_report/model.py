"""What was read: spans, metric points, and the lines that could not be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from codoperf_otel._report.sums import total
from codoperf_otel._telemetry import names

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

    A figure that was not measured is ``None``. ``process`` tells processes apart. ``counted_below`` is the
    part of its child processes' CPU time that their own spans have.
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
    process: str = ""
    counted_below: float = 0.0

    @property
    def wall(self) -> float | None:
        """Seconds from start to end."""
        return (self.end - self.start) / 1e9 if self.end >= self.start else None

    @property
    def cpu(self) -> float | None:
        """Seconds of CPU time, the calls inside included."""
        return number(self.attributes, names.CPU_TIME)

    @property
    def self_cpu(self) -> float | None:
        """Seconds of CPU time, the monitored calls inside left out."""
        own = number(self.attributes, names.CPU_SELF_TIME)
        return self.cpu if own is None else own

    @property
    def suspended(self) -> float | None:
        """Seconds suspended in ``await`` or ``yield``."""
        return number(self.attributes, names.SUSPENDED_TIME)

    @property
    def child_process_cpu(self) -> float | None:
        """Seconds of CPU time of the child processes that this span started, less what their spans have."""
        seconds = number(self.attributes, names.CPU_CHILD_PROCESS_TIME)
        return None if seconds is None else total([seconds, -self.counted_below])

    @property
    def total_cpu(self) -> float | None:
        """Seconds of CPU time of the span itself and of its child processes."""
        return total([self.self_cpu, self.child_process_cpu])

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
        """The kind of error; ``None`` where the span did not fail."""
        if not self.failed:
            return None
        return string(self.attributes, names.ERROR_TYPE) or self._exception(names.EXCEPTION_TYPE) or "error"

    @property
    def error_message(self) -> str:
        """What the status, or else the exception, says; empty where neither says anything."""
        return self.message or self._exception(names.EXCEPTION_MESSAGE) or ""

    def _exception(self, key: str) -> str | None:
        found = (string(event.attributes, key) for event in self.events if event.name == names.EXCEPTION)
        return next(found, None)


@dataclass(slots=True)
class MetricPoint:
    """The value of one series; of a histogram the sum, and its count."""

    name: str
    unit: str
    attributes: Attributes
    value: float
    count: int | None


@dataclass(slots=True)
class Problem:
    """A line, or a part of a line, that was skipped."""

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
    """The attribute as a number; ``None`` where it is absent or not a number."""
    value = attributes.get(key)
    return None if isinstance(value, str | bool) else value


def string(attributes: Attributes, key: str) -> str | None:
    """The attribute as text; ``None`` where it is absent or not text."""
    value = attributes.get(key)
    return value if isinstance(value, str) else None
