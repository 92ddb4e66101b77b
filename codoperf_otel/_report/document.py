"""The whole report as one JSON document, for programs.

``source`` is the path as given. ``problems`` has ``file``, ``line`` and ``reason`` of what was skipped.
``trees`` has, longest first, ``trace_id``, ``start_time`` (ISO 8601, UTC), ``wall_seconds`` and ``spans``:
all of them, parents before children, each with ``span_id``, ``parent_span_id``, ``depth`` and its figures.
``operations``, ``agents``, ``caches``, ``lazy_loads``, ``dropped`` and ``metrics`` have the fields of the
classes `Operation`, `Agent`, `Cache`, `LazyLoad`, `Drop` and `Metric`. Units are in the keys; what was not
measured is ``null``.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from codoperf_otel._report.agents import agents
from codoperf_otel._report.caches import caches
from codoperf_otel._report.drops import drops
from codoperf_otel._report.lazy_loads import lazy_loads
from codoperf_otel._report.metrics import metrics
from codoperf_otel._report.model import Telemetry
from codoperf_otel._report.operations import operations
from codoperf_otel._report.trees import Node, Trace, traces


def document(telemetry: Telemetry) -> dict[str, Any]:
    """All figures of the report, nothing folded and nothing left out."""
    spans, points = telemetry.spans, telemetry.points
    found = {
        "source": telemetry.source,
        "problems": [asdict(problem) for problem in telemetry.problems],
        "trees": [_tree(trace) for trace in traces(spans)],
        "operations": [asdict(operation) for operation in operations(spans)],
        "agents": [asdict(agent) for agent in agents(spans, points)],
        "caches": [asdict(cache) for cache in caches(points)],
        "lazy_loads": [asdict(load) for load in lazy_loads(spans)],
        "dropped": [asdict(drop) for drop in drops(points)],
        "metrics": [asdict(metric) for metric in metrics(points)],
    }
    return {name: _finite(part) for name, part in found.items()}


def _finite(value: Any) -> Any:
    """The same, with None for what JSON has no number for: a sum may overflow."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def _tree(trace: Trace) -> dict[str, Any]:
    return {
        "trace_id": trace.trace_id,
        "start_time": datetime.fromtimestamp(trace.start / 1e9, UTC).isoformat(),
        "wall_seconds": trace.wall,
        "spans": [_span(node, trace.start) for node in trace.walk()],
    }


def _span(node: Node, start: int) -> dict[str, Any]:
    span = node.span
    return {
        "span_id": span.span_id,
        "parent_span_id": span.parent_id or None,
        "depth": node.depth,
        "name": span.name,
        "service": span.service or None,
        "agent": span.agent,
        "start_offset_seconds": (span.start - start) / 1e9,
        "wall_seconds": span.wall,
        "whole_cpu_seconds": node.whole_cpu,
        "cpu_seconds": span.cpu,
        "self_cpu_seconds": span.self_cpu,
        "suspended_seconds": span.suspended,
        "child_process_cpu_seconds": span.child_process_cpu,
        "memory_growth_bytes": span.memory_growth,
        "memory_peak_bytes": span.memory_peak,
        "error_type": span.error_type,
        "error_message": span.error_message if span.failed else None,
        "lazy_loads": [load.module for load in lazy_loads([span])],
    }
