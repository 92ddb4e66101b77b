"""The summaries as tables."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from codoperf_otel._report.agents import Agent
from codoperf_otel._report.caches import Cache
from codoperf_otel._report.lazy_loads import LazyLoad
from codoperf_otel._report.metrics import Metric
from codoperf_otel._report.operations import Operation
from codoperf_otel._report.sums import highest, ratio
from codoperf_otel._telemetry import names
from codoperf_otel.cli import _format
from codoperf_otel.cli._cells import cell, heat
from codoperf_otel.cli._layout import Row, Table

BAR = 8
TIERS = ("memory", "disk", "redis")


def by_cpu(operations: Sequence[Operation]) -> Table:
    """The operations with their share of all CPU time."""
    longest = highest(operation.total_cpu_share for operation in operations)
    split = _split(operations)
    titles = ("operation", split[0], "", "share", *split[1:], "calls", "avg wall", "errors", "agent")
    rows = [_by_cpu(operation, longest, split) for operation in operations]
    return Table(titles, rows, left=("", "agent"))


def _by_cpu(operation: Operation, longest: float | None, split: Sequence[str]) -> Row:
    share = operation.total_cpu_share
    first, *others = _cpu(operation, split)
    first.stylize(heat(share))
    return Row(
        _name(operation.name),
        [
            first,
            _bar(ratio(share, longest)),
            cell(_format.percent(share)),
            *others,
            cell(_format.number(operation.calls)),
            cell(_format.duration(operation.average_wall_seconds)),
            _errors(operation.errors),
            _agent_name(operation.agent),
        ],
    )


def _split(found: Sequence[Operation] | Sequence[Agent]) -> Sequence[str]:
    """The columns of CPU time; without child processes one says it all."""
    has_children = any(each.child_process_cpu_seconds is not None for each in found)
    return ("total CPU", "self CPU", "child CPU") if has_children else ("self CPU",)


def _cpu(each: Operation | Agent, split: Sequence[str]) -> list[Text]:
    seconds = {
        "total CPU": each.total_cpu_seconds,
        "self CPU": each.self_cpu_seconds,
        "child CPU": each.child_process_cpu_seconds,
    }
    return [cell(_format.duration(seconds[title])) for title in split]


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
    """One row per agent."""
    split = [title for title in _split(found) if title != "self CPU"] or ["self CPU"]
    needed = ("wall", *split, "waiting", "peak", "tools", "hits", "saved", "errors")
    return Table(("agent", *needed, "lazy"), [_agent(agent, split) for agent in found], needed=needed)


def _agent(agent: Agent, split: Sequence[str]) -> Row:
    return Row(
        Text(_format.clean(agent.name), "bold cyan"),
        [
            cell(_format.duration(agent.wall_seconds)),
            *_cpu(agent, split),
            cell(_format.duration(agent.waiting_seconds)),
            cell(_format.memory(agent.memory_peak_bytes)),
            cell(_format.number(agent.tool_calls)),
            cell(_format.percent(agent.cache_hit_ratio)),
            cell(_format.duration(agent.cache_saved_seconds), "green"),
            _errors(agent.errors),
            cell(_format.number(agent.lazy_loads)),
        ],
        tail=Text(_format.times(agent.runs), "bold"),
    )


def caches(found: Sequence[Cache]) -> Table:
    """One row per cache, one column per tier that had hits."""
    tiers = sorted({tier for cache in found for tier in cache.hits_by_tier}, key=_tier_order)
    results = sorted({result for cache in found for result in _others(cache)})
    counted = [f"{_format.clean(tier)} hits" for tier in tiers] + [
        _format.clean(result) for result in results
    ]
    titles = ("cache", "hit ratio", "look-ups", *counted, "saved")
    return Table(titles, [_cache(cache, tiers, results) for cache in found])


def _others(cache: Cache) -> dict[str, int]:
    """The look-ups that were no hits, by their result."""
    return cache.misses_by_result | ({names.COALESCED: cache.coalesced} if cache.coalesced else {})


def _cache(cache: Cache, tiers: Sequence[str], results: Sequence[str]) -> Row:
    return Row(
        _name(cache.name),
        [
            cell(_format.percent(cache.hit_ratio), "bold"),
            cell(_format.number(cache.lookups)),
            *(cell(_format.number(cache.hits_by_tier.get(tier))) for tier in tiers),
            *(cell(_format.number(_others(cache).get(result))) for result in results),
            cell(_format.duration(cache.saved_seconds), "green"),
        ],
    )


def lazy_loads(found: Sequence[LazyLoad]) -> Table:
    """One row per module that was loaded at its first use."""
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
    """One row per metric."""
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


def _bar(share: float | None) -> Text:
    return Text("━" * round(BAR * (share or 0.0)), "yellow")


def _tier_order(tier: str) -> tuple[int, str]:
    """The nearest first; tiers that other writers have come after ours."""
    return (TIERS.index(tier) if tier in TIERS else len(TIERS)), tier
