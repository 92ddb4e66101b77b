"""What the process answers: snapshots of its figures, with the rows of a recording."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, cast

from codoperf_otel.__about__ import __version__
from codoperf_otel._cache import counts
from codoperf_otel._cache.store import living
from codoperf_otel._calls.agent_figures import AgentUsage, agent_usages
from codoperf_otel._live.operations import durations, operations
from codoperf_otel._readings import process_readings
from codoperf_otel._report.agents import Agent
from codoperf_otel._report.caches import caches, hit_ratio, hits_and_misses, points_by
from codoperf_otel._report.model import MetricPoint
from codoperf_otel._report.resources import Resources
from codoperf_otel._report.sums import highest, total
from codoperf_otel._telemetry import names
from codoperf_otel._telemetry.attribute_sets import Attributes
from codoperf_otel._telemetry.interrupts import raise_interrupt

log = logging.getLogger("codoperf_otel.live")

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def answer(question: bytes) -> bytes:
    """The answer to a question, as one JSON document; whatever is asked, it raises nothing."""
    said: dict[str, Any] = {"version": __version__, "pid": os.getpid()}
    try:
        rows = _QUESTIONS[json.loads(question)["question"]]
    except (ValueError, LookupError, TypeError, RecursionError):
        return _encoded(said | {"error": f"a question is one of {', '.join(_QUESTIONS)}"})
    try:
        return _encoded(said | {"rows": rows()})
    except Exception as error:
        raise_interrupt(error)
        log.warning("a question could not be answered", exc_info=True)
        return _encoded(said | {"error": "the process failed to answer, and its log says why"})


def _encoded(said: Mapping[str, Any]) -> bytes:
    """As JSON in UTF-8. A lone surrogate in a name is shown as its escape, as in telemetry files."""
    text = json.dumps(said, ensure_ascii=False)
    return _LONE_SURROGATE.sub(lambda found: f"\\\\u{ord(found[0]):x}", text).encode()


def _operations() -> list[dict[str, Any]]:
    return [asdict(operation) for operation in operations()]


def _agents() -> list[dict[str, Any]]:
    points = _cache_points()
    lookups = points_by(names.GEN_AI_AGENT_NAME, names.CACHE_LOOKUPS, points)
    return [asdict(_agent(usage, lookups.get(usage.name))) for usage in agent_usages()]


def _agent(usage: AgentUsage, lookups: list[MetricPoint] | None) -> Agent:
    own = usage.own
    hits, misses = hits_and_misses(lookups)
    return Agent(
        name=usage.name,
        runs=usage.invocations,
        wall_seconds=usage.wall_seconds if usage.invocations else None,
        total_cpu_seconds=total([own.cpu_seconds, own.child_process_cpu_seconds]),
        self_cpu_seconds=own.cpu_seconds,
        waiting_seconds=usage.waiting_seconds,
        child_process_cpu_seconds=own.child_process_cpu_seconds,
        memory_growth_bytes=None,
        memory_peak_bytes=usage.memory_peak_bytes,
        tool_calls=own.tool_calls,
        cache_hits=hits,
        cache_misses=misses,
        cache_hit_ratio=hit_ratio(lookups),
        cache_saved_seconds=own.cache_saved_seconds,
        lazy_loads=None,
        errors=own.errors,
    )


def _caches() -> list[dict[str, Any]]:
    return [asdict(cache) for cache in caches(_cache_points())]


def _cache_points() -> list[MetricPoint]:
    for store in living():
        store.memory.fold()
    return [
        MetricPoint(name, "", cast("Attributes", observation.attributes), observation.value, None)
        for name, sums in ((names.CACHE_LOOKUPS, counts.lookups), (names.CACHE_SAVED_TIME, counts.saved_time))
        for observation in sums.observations()
    ]


def _resources() -> list[dict[str, Any]]:
    found = operations()
    memory = process_readings.memory()
    return [
        asdict(
            Resources(
                spans=None,
                errors=sum(operation.errors for operation in found),
                processes=1,
                self_cpu_seconds=total(operation.self_cpu_seconds for operation in found),
                child_process_cpu_seconds=total(operation.child_process_cpu_seconds for operation in found),
                memory_peak_bytes=highest(operation.memory_peak_bytes for operation in found),
                process_cpu_seconds=total(process_readings.cpu() or ()),
                process_memory_bytes=memory and memory.resident,
                process_threads=process_readings.threads(),
                uptime_seconds=process_readings.uptime(),
                skipped_lines=0,
            )
        )
    ]


def _durations() -> list[tuple[str, list[float]]]:
    return list(durations().items())


_QUESTIONS: dict[str, Callable[[], list[Any]]] = {
    "operations": _operations,
    "agents": _agents,
    "caches": _caches,
    "resources": _resources,
    "durations": _durations,
}
