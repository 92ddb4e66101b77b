"""What the spans and metrics add up to: operations, agents, caches, lazy loads, metrics.

Field names carry their unit. A figure that nothing measured is ``None``, never 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from codoperf_otel._telemetry import names
from codoperf_otel.cli._model import Attributes, MetricPoint, Span, number, string


@dataclass(slots=True)
class Operation:
    """All spans of one name under one agent."""

    name: str
    agent: str | None
    calls: int
    errors: int
    average_wall_seconds: float | None
    self_cpu_seconds: float | None
    self_cpu_share: float | None
    memory_growth_bytes: float | None
    memory_peak_bytes: float | None


@dataclass(slots=True)
class Agent:
    """All that ran with one agent in force; wall and waiting are those of its runs, one after another."""

    name: str
    runs: int
    wall_seconds: float | None
    self_cpu_seconds: float | None
    waiting_seconds: float | None
    child_process_cpu_seconds: float | None
    memory_growth_bytes: float | None
    memory_peak_bytes: float | None
    tool_calls: int | None
    cache_hits: int | None
    cache_misses: int | None
    lazy_loads: int | None
    errors: int | None


@dataclass(slots=True)
class Cache:
    """The look-ups of one cache; ``misses`` are all look-ups that were no hit."""

    name: str
    lookups: int
    hits: int
    misses: int
    hit_ratio: float | None
    hits_by_tier: dict[str, int]
    misses_by_result: dict[str, int]
    saved_seconds: float | None


@dataclass(slots=True)
class LazyLoad:
    """The first use of one lazy module, and the operation that paid for it."""

    module: str
    operation: str
    agent: str | None
    duration_seconds: float | None
    memory_growth_bytes: float | None
    module_count: float | None
    error: str | None


@dataclass(slots=True)
class Metric:
    """All series of one metric: values added up, of a histogram with the count."""

    name: str
    unit: str
    series: int
    total: float
    count: int | None


def total(values: Iterable[float | None]) -> float | None:
    """The sum of what was measured."""
    measured = [value for value in values if value is not None]
    return sum(measured) if measured else None


def highest(values: Iterable[float | None]) -> float | None:
    """The greatest of what was measured."""
    return max((value for value in values if value is not None), default=None)


def ratio(part: float | None, whole: float | None) -> float | None:
    """One divided by the other, where there is something to divide."""
    return None if part is None or not whole else part / whole


def operations(spans: Iterable[Span]) -> list[Operation]:
    """Every operation, the one with the most self CPU first."""
    spans = list(spans)
    everything = total(span.self_cpu for span in spans)
    groups: dict[tuple[str, str | None], list[Span]] = defaultdict(list)
    for span in spans:
        groups[span.name, span.agent].append(span)
    found = [_operation(name, agent, group, everything) for (name, agent), group in groups.items()]
    return sorted(found, key=lambda operation: -(operation.self_cpu_seconds or 0.0))


def _operation(name: str, agent: str | None, spans: list[Span], everything: float | None) -> Operation:
    self_cpu = total(span.self_cpu for span in spans)
    walls = [span.wall for span in spans if span.wall is not None]
    return Operation(
        name=name,
        agent=agent,
        calls=len(spans),
        errors=sum(span.failed for span in spans),
        average_wall_seconds=ratio(total(walls), len(walls)),
        self_cpu_seconds=self_cpu,
        self_cpu_share=ratio(self_cpu, everything),
        memory_growth_bytes=highest(span.memory_growth for span in spans),
        memory_peak_bytes=highest(span.memory_peak for span in spans),
    )


def by_memory(found: Iterable[Operation]) -> list[Operation]:
    """The operations whose memory was measured, the one that grew most first."""
    measured = [operation for operation in found if operation.memory_peak_bytes is not None]
    return sorted(measured, key=lambda op: (-(op.memory_growth_bytes or 0.0), -(op.memory_peak_bytes or 0.0)))


def agents(spans: Iterable[Span], points: Iterable[MetricPoint]) -> list[Agent]:
    """Every agent by name, in the order in which they began."""
    spans, points = sorted(spans, key=lambda span: span.start), list(points)
    agent_of = {(span.trace_id, span.span_id): span.agent for span in spans}
    groups: dict[str, list[Span]] = defaultdict(list)
    runs: dict[str, list[Span]] = defaultdict(list)
    for span in spans:
        if span.agent is not None:
            groups[span.agent].append(span)
            if agent_of.get((span.trace_id, span.parent_id)) != span.agent:
                runs[span.agent].append(span)
    lookups = _lookups(points, names.GEN_AI_AGENT_NAME)
    for name in lookups:
        groups.setdefault(name, [])
    return [_agent(name, group, runs[name], lookups.get(name)) for name, group in groups.items()]


def _agent(name: str, spans: list[Span], runs: list[Span], lookups: list[MetricPoint] | None) -> Agent:
    hits = None if lookups is None else sum(int(point.value) for point in lookups if _is_hit(point))
    return Agent(
        name=name,
        runs=len(runs),
        wall_seconds=total(span.wall for span in runs),
        self_cpu_seconds=total(span.self_cpu for span in spans),
        waiting_seconds=total(span.suspended for span in runs),
        child_process_cpu_seconds=total(span.child_process_cpu for span in spans),
        memory_growth_bytes=highest(span.memory_growth for span in spans),
        memory_peak_bytes=highest(span.memory_peak for span in spans),
        tool_calls=sum(_operation_name(span) == names.EXECUTE_TOOL for span in spans) if spans else None,
        cache_hits=hits,
        cache_misses=None if hits is None else sum(int(point.value) for point in lookups or ()) - hits,
        lazy_loads=len(lazy_loads(spans)) if spans else None,
        errors=sum(span.failed for span in spans) if spans else None,
    )


def caches(points: Iterable[MetricPoint]) -> list[Cache]:
    """Every cache, the one with the most look-ups first."""
    points = list(points)
    saved: dict[str, float] = defaultdict(float)
    for point in points:
        if point.name == names.CACHE_SAVED_TIME:
            saved[string(point.attributes, names.CACHE_NAME) or ""] += point.value
    found = [
        _cache(name, group, saved.get(name)) for name, group in _lookups(points, names.CACHE_NAME).items()
    ]
    return sorted(found, key=lambda cache: -cache.lookups)


def _cache(name: str, points: list[MetricPoint], saved: float | None) -> Cache:
    tiers: dict[str, int] = defaultdict(int)
    others: dict[str, int] = defaultdict(int)
    for point in points:
        if _is_hit(point):
            tiers[string(point.attributes, names.CACHE_TIER) or "unknown"] += int(point.value)
        else:
            others[string(point.attributes, names.CACHE_RESULT) or "unknown"] += int(point.value)
    hits, misses = sum(tiers.values()), sum(others.values())
    return Cache(
        name, hits + misses, hits, misses, ratio(hits, hits + misses), dict(tiers), dict(others), saved
    )


def _lookups(points: Iterable[MetricPoint], key: str) -> dict[str, list[MetricPoint]]:
    """The look-ups of caches by the value of an attribute; those without it are left out."""
    groups: dict[str, list[MetricPoint]] = defaultdict(list)
    for point in points:
        value = string(point.attributes, key)
        if point.name == names.CACHE_LOOKUPS and value is not None:
            groups[value].append(point)
    return groups


def _is_hit(point: MetricPoint) -> bool:
    return point.attributes.get(names.CACHE_RESULT) == "hit"


def _operation_name(span: Span) -> str | None:
    return string(span.attributes, names.GEN_AI_OPERATION_NAME)


def lazy_loads(spans: Iterable[Span]) -> list[LazyLoad]:
    """Every lazy load, the longest first: an event of the span that paid for it, or a span of its own."""
    found = [_lazy_load(span, attributes) for span in spans for attributes in _loads(span)]
    return sorted(found, key=lambda load: -(load.duration_seconds or 0.0))


def _loads(span: Span) -> Iterator[Attributes]:
    if names.LAZY_LOAD_DURATION_ATTRIBUTE in span.attributes:
        yield span.attributes
    yield from (event.attributes for event in span.events if event.name == names.LAZY_LOAD_EVENT)


def _lazy_load(span: Span, attributes: Attributes) -> LazyLoad:
    return LazyLoad(
        module=string(attributes, names.MODULE_NAME) or "",
        operation=span.name,
        agent=span.agent,
        duration_seconds=number(attributes, names.LAZY_LOAD_DURATION_ATTRIBUTE),
        memory_growth_bytes=number(attributes, names.PROCESS_MEMORY_DELTA),
        module_count=number(attributes, names.MODULE_COUNT),
        error=string(attributes, names.ERROR_TYPE),
    )


def metrics(points: Iterable[MetricPoint]) -> list[Metric]:
    """Every metric by name."""
    groups: dict[str, list[MetricPoint]] = defaultdict(list)
    for point in points:
        groups[point.name].append(point)
    return [_metric(name, group) for name, group in sorted(groups.items())]


def _metric(name: str, points: list[MetricPoint]) -> Metric:
    counts = [point.count for point in points if point.count is not None]
    value = sum(point.value for point in points)
    return Metric(name, points[0].unit, len(points), value, sum(counts) if counts else None)
