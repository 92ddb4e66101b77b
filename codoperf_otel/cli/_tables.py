"""The summaries as tables: titles and rows."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from codoperf_otel.cli import _format
from codoperf_otel.cli._layout import Row, Table
from codoperf_otel.cli._summary import Agent, Cache, LazyLoad, Metric, Operation, highest, ratio
from codoperf_otel.cli._tree_view import cell, heat

BAR = 8
TIERS = ("memory", "disk", "redis")


def by_self_cpu(operations: Sequence[Operation]) -> Table:
    """The operations with their share of all self CPU."""
    longest = highest(operation.self_cpu_share for operation in operations)
    titles = ("operation", "self CPU", "", "share", "calls", "avg wall", "errors", "agent")
    rows = [_by_self_cpu(operation, longest) for operation in operations]
    return Table(titles, rows, left=("", "agent"))


def _by_self_cpu(operation: Operation, longest: float | None) -> Row:
    share = operation.self_cpu_share
    return Row(
        _name(operation.name),
        [
            cell(_format.duration(operation.self_cpu_seconds), heat(share)),
            _bar(ratio(share, longest)),
            cell(_format.percent(share)),
            cell(_format.number(operation.calls)),
            cell(_format.duration(operation.average_wall_seconds)),
            _errors(operation.errors),
            _agent_name(operation.agent),
        ],
    )


def by_memory(operations: Sequence[Operation]) -> Table:
    """The operations with how far the process's memory rose while they ran."""
    titles = ("operation", "+memory", "peak", "calls", "avg wall", "errors", "agent")
    return Table(titles, [_by_memory(operation) for operation in operations], left=("agent",))


def _by_memory(operation: Operation) -> Row:
    return Row(
        _name(operation.name),
        [
            cell(_format.growth(operation.memory_growth_bytes)),
            cell(_format.memory(operation.memory_peak_bytes)),
            cell(_format.number(operation.calls)),
            cell(_format.duration(operation.average_wall_seconds)),
            _errors(operation.errors),
            _agent_name(operation.agent),
        ],
    )


def agents(found: Sequence[Agent]) -> Table:
    """One row an agent."""
    titles = ("agent", "wall", "CPU", "waiting", "peak", "tools", "hit/miss", "lazy", "errors", "child CPU")
    return Table(titles, [_agent(agent) for agent in found])


def _agent(agent: Agent) -> Row:
    return Row(
        Text(_format.clean(agent.name), "bold cyan"),
        [
            cell(_format.duration(agent.wall_seconds)),
            cell(_format.duration(agent.self_cpu_seconds)),
            cell(_format.duration(agent.waiting_seconds)),
            cell(_format.memory(agent.memory_peak_bytes)),
            cell(_format.number(agent.tool_calls)),
            _hits_and_misses(agent),
            cell(_format.number(agent.lazy_loads)),
            _errors(agent.errors),
            cell(_format.duration(agent.child_process_cpu_seconds)),
        ],
        tail=Text(_format.times(agent.runs), "bold"),
    )


def caches(found: Sequence[Cache]) -> Table:
    """One row a cache, one column a tier that had hits."""
    tiers = sorted({tier for cache in found for tier in cache.hits_by_tier}, key=_tier_order)
    results = sorted({result for cache in found for result in cache.misses_by_result})
    counted = [f"{_format.clean(tier)} hits" for tier in tiers] + [
        _format.clean(result) for result in results
    ]
    titles = ("cache", "hit ratio", "look-ups", *counted, "saved")
    return Table(titles, [_cache(cache, tiers, results) for cache in found])


def _cache(cache: Cache, tiers: Sequence[str], results: Sequence[str]) -> Row:
    return Row(
        _name(cache.name),
        [
            cell(_format.percent(cache.hit_ratio), "bold"),
            cell(_format.number(cache.lookups)),
            *(cell(_format.number(cache.hits_by_tier.get(tier))) for tier in tiers),
            *(cell(_format.number(cache.misses_by_result.get(result))) for result in results),
            cell(_format.duration(cache.saved_seconds), "green"),
        ],
    )


def lazy_loads(found: Sequence[LazyLoad]) -> Table:
    """One row a module that was loaded at its first use."""
    titles = ("module", "took", "+memory", "modules", "paid by", "agent")
    return Table(titles, [_lazy_load(load) for load in found], left=("paid by", "agent"))


def _lazy_load(load: LazyLoad) -> Row:
    return Row(
        Text(_format.clean(load.module), "red" if load.error else "magenta"),
        [
            cell(_format.duration(load.duration_seconds)),
            cell(_format.growth(load.memory_growth_bytes)),
            cell(_format.number(load.module_count)),
            cell(_format.clean(load.operation)),
            _agent_name(load.agent),
        ],
    )


def metrics(found: Sequence[Metric]) -> Table:
    """One row a metric."""
    titles = ("metric", "total", "unit", "count", "series")
    return Table(titles, [_metric(metric) for metric in found], left=("unit",))


def _metric(metric: Metric) -> Row:
    return Row(
        _name(metric.name),
        [
            cell(f"{metric.total:,.6g}"),
            cell(_format.clean(metric.unit), "dim"),
            cell(_format.number(metric.count)),
            cell(_format.number(metric.series)),
        ],
    )


def _name(name: str) -> Text:
    return Text(_format.clean(name) or "(no name)")


def _agent_name(name: str | None) -> Text:
    return cell(_format.DASH if name is None else _format.clean(name), "cyan")


def _errors(count: int | None) -> Text:
    return cell(_format.number(count), "bold red" if count else "dim")


def _hits_and_misses(agent: Agent) -> Text:
    if agent.cache_hits is None:
        return cell(_format.DASH)
    return cell(f"{_format.number(agent.cache_hits)}/{_format.number(agent.cache_misses)}")


def _bar(share: float | None) -> Text:
    return Text("━" * round(BAR * (share or 0.0)), "yellow")


def _tier_order(tier: str) -> tuple[int, str]:
    """Nearest first; tiers of other writers come after ours."""
    return (TIERS.index(tier) if tier in TIERS else len(TIERS)), tier
