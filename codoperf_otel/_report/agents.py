"""Agents: what ran with each of them in force."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from codoperf_otel._report.caches import hit_ratio, hits_and_misses, points_by
from codoperf_otel._report.lazy_loads import lazy_loads
from codoperf_otel._report.model import MetricPoint, Span, string
from codoperf_otel._report.sums import highest, total
from codoperf_otel._telemetry import names


@dataclass(slots=True)
class Agent:
    """All that ran with one agent in force; wall and waiting time are those of its runs, added up.

    ``total_cpu_seconds`` are its own and those of the child processes that it started.
    """

    name: str
    runs: int
    wall_seconds: float | None
    total_cpu_seconds: float | None
    self_cpu_seconds: float | None
    waiting_seconds: float | None
    child_process_cpu_seconds: float | None
    memory_growth_bytes: float | None
    memory_peak_bytes: float | None
    tool_calls: int | None
    cache_hits: int | None
    cache_misses: int | None
    cache_hit_ratio: float | None
    cache_saved_seconds: float | None
    lazy_loads: int | None
    errors: int | None


def agents(spans: Iterable[Span], points: Iterable[MetricPoint]) -> list[Agent]:
    """Every agent by name, in the order in which they began."""
    spans = sorted(spans, key=lambda span: span.start)
    groups: dict[str, list[Span]] = defaultdict(list)
    for span in spans:
        if span.agent is not None:
            groups[span.agent].append(span)
    points = list(points)
    lookups = points_by(names.GEN_AI_AGENT_NAME, names.CACHE_LOOKUPS, points)
    saved = points_by(names.GEN_AI_AGENT_NAME, names.CACHE_SAVED_TIME, points)
    for name in lookups:
        groups.setdefault(name, [])
    runs = _runs(spans)
    return [
        _agent(name, group, runs[name], lookups.get(name), saved.get(name, []))
        for name, group in groups.items()
    ]


def _runs(spans: Iterable[Span]) -> dict[str, list[Span]]:
    """The ``invoke_agent`` spans of each agent, one per run.

    Where a framework has such a span of the same agent around ours, or inside it, both are the same run. What
    a tool of the agent invokes is another run, also of the same agent.
    """
    by_id = {(span.trace_id, span.span_id): span for span in spans}
    runs: dict[str, list[Span]] = defaultdict(list)
    for span in by_id.values():
        if span.agent is not None and _operation_name(span) == names.INVOKE_AGENT:
            around = _around(span, by_id)
            if around is None or (_operation_name(around), around.agent) != (names.INVOKE_AGENT, span.agent):
                runs[span.agent].append(span)
    return runs


def _around(span: Span, spans: Mapping[tuple[str, str], Span]) -> Span | None:
    """The nearest span around that invokes a tool or an agent with a name; those in between are skipped."""
    seen = {span.span_id}
    parent = spans.get((span.trace_id, span.parent_id))
    while parent is not None and parent.span_id not in seen:
        operation = _operation_name(parent)
        if operation == names.EXECUTE_TOOL or (operation == names.INVOKE_AGENT and parent.agent is not None):
            return parent
        seen.add(parent.span_id)
        parent = spans.get((parent.trace_id, parent.parent_id))
    return None


def _agent(
    name: str,
    spans: list[Span],
    runs: list[Span],
    lookups: list[MetricPoint] | None,
    saved: list[MetricPoint],
) -> Agent:
    hits, misses = hits_and_misses(lookups)
    return Agent(
        name=name,
        runs=len(runs),
        wall_seconds=total(span.wall for span in runs),
        total_cpu_seconds=total(span.total_cpu for span in spans),
        self_cpu_seconds=total(span.self_cpu for span in spans),
        waiting_seconds=total(span.suspended for span in runs),
        child_process_cpu_seconds=total(span.child_process_cpu for span in spans),
        memory_growth_bytes=highest(span.memory_growth for span in spans),
        memory_peak_bytes=highest(span.memory_peak for span in spans),
        tool_calls=sum(_operation_name(span) == names.EXECUTE_TOOL for span in spans) if spans else None,
        cache_hits=hits,
        cache_misses=misses,
        cache_hit_ratio=hit_ratio(lookups),
        cache_saved_seconds=total(point.value for point in saved),
        lazy_loads=len(lazy_loads(spans)) if spans else None,
        errors=sum(span.failed for span in spans) if spans else None,
    )


def _operation_name(span: Span) -> str | None:
    return string(span.attributes, names.GEN_AI_OPERATION_NAME)
