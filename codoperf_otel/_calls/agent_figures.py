"""What each agent used since the process began."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from codoperf_otel._calls import lineages
from codoperf_otel._calls.lineages import LOOKUPS, Lineage
from codoperf_otel._calls.totals import PEAK
from codoperf_otel._telemetry import names


@dataclass(frozen=True, slots=True)
class AgentFigures:
    """What ran with an agent in force used; times are in seconds. What was not measured is None.

    CPU time is that of its own code, ``child_process_cpu_seconds`` that of the programs it started.
    ``errors`` are the calls that failed, each counted where it was made.
    """

    cpu_seconds: float | None
    child_process_cpu_seconds: float | None
    tool_calls: int
    inference_calls: int
    input_tokens: int | None
    output_tokens: int | None
    errors: int
    cache_lookups: int
    cache_hits: int
    cache_saved_seconds: float | None
    lazy_load_seconds: float | None

    @property
    def cache_hit_ratio(self) -> float | None:
        """Hits per look-up."""
        return self.cache_hits / self.cache_lookups if self.cache_lookups else None


@dataclass(frozen=True, slots=True)
class AgentUsage:
    """What one agent used: ``own`` without the agents inside it, ``total`` with them.

    ``wall_seconds`` and ``waiting_seconds`` are those of its invocations that have ended, added up.
    ``memory_peak_bytes`` is the highest memory of the process while one of them ran.
    """

    name: str
    invocations: int
    wall_seconds: float
    waiting_seconds: float | None
    memory_peak_bytes: int | None
    own: AgentFigures
    total: AgentFigures

    def to_dict(self) -> dict[str, Any]:
        """The fields by their names, but ``own`` as ``self``."""
        found = asdict(self)
        return {**{key: value for key, value in found.items() if key != "own"}, "self": found["own"]}


def agent_usages() -> list[AgentUsage]:
    """Every agent, in the order in which they were first in force."""
    known = lineages.lineages()
    used = frozenset[str]().union(*(lineage.names for lineage in known if lineage.values()))
    return [_usage(name, known) for name in dict.fromkeys(each.name for each in known) if name in used]


def _usage(name: str, known: Iterable[Lineage]) -> AgentUsage:
    own = _sum(lineage.values() for lineage in known if lineage.name == name)
    return AgentUsage(
        name=name,
        invocations=own.get(lineages.INVOCATIONS, 0),
        wall_seconds=own.get(lineages.WALL_NS, 0) / 1e9,
        waiting_seconds=_seconds(own, lineages.WAITING_NS),
        memory_peak_bytes=max((each[PEAK] for each in _of(name, known) if PEAK in each), default=None),
        own=_figures(own),
        total=_figures(_sum(lineage.values() for lineage in known if name in lineage.names)),
    )


def _of(name: str, known: Iterable[Lineage]) -> list[Mapping[str, int]]:
    return [lineage.values() for lineage in known if lineage.name == name]


def _sum(all_values: Iterable[Mapping[str, int]]) -> Mapping[str, int]:
    found: Counter[str] = Counter()
    for values in all_values:
        found.update(values)
    return dict(found)


def _figures(values: Mapping[str, int]) -> AgentFigures:
    return AgentFigures(
        cpu_seconds=_seconds(values, lineages.CPU_NS),
        child_process_cpu_seconds=_seconds(values, lineages.CHILD_PROCESS_NS),
        tool_calls=values.get(lineages.TOOL_CALLS, 0),
        inference_calls=values.get(lineages.INFERENCE_CALLS, 0),
        input_tokens=values.get(lineages.INPUT_TOKENS),
        output_tokens=values.get(lineages.OUTPUT_TOKENS),
        errors=values.get(lineages.ERRORS, 0),
        cache_lookups=sum(values.get(each, 0) for each in LOOKUPS.values()),
        cache_hits=values.get(LOOKUPS[names.HIT], 0),
        cache_saved_seconds=_seconds(values, lineages.SAVED_NS),
        lazy_load_seconds=_seconds(values, lineages.LAZY_LOAD_NS),
    )


def _seconds(values: Mapping[str, int], name: str) -> float | None:
    return values[name] / 1e9 if name in values else None
