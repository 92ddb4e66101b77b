"""Operations: the spans of one name under one agent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from codoperf_otel._report.model import Span
from codoperf_otel._report.sums import highest, ratio, total


@dataclass(slots=True)
class Operation:
    """All spans of one name under one agent."""

    name: str
    agent: str | None
    calls: int
    errors: int
    average_wall_seconds: float | None
    total_cpu_seconds: float | None
    total_cpu_share: float | None
    self_cpu_seconds: float | None
    self_cpu_share: float | None
    child_process_cpu_seconds: float | None
    memory_growth_bytes: float | None
    memory_peak_bytes: float | None


def operations(spans: Iterable[Span]) -> list[Operation]:
    """Every operation, the one with the most CPU time first, that of its child processes included."""
    spans = list(spans)
    everything = total(span.total_cpu for span in spans)
    own = total(span.self_cpu for span in spans)
    groups: dict[tuple[str, str | None], list[Span]] = defaultdict(list)
    for span in spans:
        groups[span.name, span.agent].append(span)
    found = [_operation(name, agent, group, everything, own) for (name, agent), group in groups.items()]
    return sorted(found, key=lambda operation: -(operation.total_cpu_seconds or 0.0))


def _operation(
    name: str, agent: str | None, spans: list[Span], everything: float | None, own: float | None
) -> Operation:
    total_cpu = total(span.total_cpu for span in spans)
    self_cpu = total(span.self_cpu for span in spans)
    walls = [span.wall for span in spans if span.wall is not None]
    return Operation(
        name=name,
        agent=agent,
        calls=len(spans),
        errors=sum(span.failed for span in spans),
        average_wall_seconds=ratio(total(walls), len(walls)),
        total_cpu_seconds=total_cpu,
        total_cpu_share=ratio(total_cpu, everything),
        self_cpu_seconds=self_cpu,
        self_cpu_share=ratio(self_cpu, own),
        child_process_cpu_seconds=total(span.child_process_cpu for span in spans),
        memory_growth_bytes=highest(span.memory_growth for span in spans),
        memory_peak_bytes=highest(span.memory_peak for span in spans),
    )


def by_memory(found: Iterable[Operation]) -> list[Operation]:
    """The operations whose memory was measured, the one that grew most first."""
    measured = [operation for operation in found if operation.memory_peak_bytes is not None]
    return sorted(measured, key=lambda op: (-(op.memory_growth_bytes or 0.0), -(op.memory_peak_bytes or 0.0)))
