"""The same report for programs: one JSON document.

``source`` is the path as given. ``problems`` has ``file``, ``line`` and ``reason`` of what was skipped.
``trees`` has, longest first, ``trace_id``, ``start_time`` (ISO 8601, UTC), ``wall_seconds`` and ``spans``:
all of them, parents before children, each with ``span_id``, ``parent_span_id``, ``depth`` and its figures.
``operations``, ``agents``, ``caches``, ``lazy_loads`` and ``metrics`` have the fields of the classes in
:mod:`codoperf_otel.cli._summary`. Units are in the keys; what was not measured is ``null``.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from codoperf_otel.cli import _summary
from codoperf_otel.cli._model import Telemetry
from codoperf_otel.cli._trees import Node, Trace, traces


def document(telemetry: Telemetry) -> dict[str, Any]:
    """All figures of the report, nothing folded and nothing left out."""
    spans, points = telemetry.spans, telemetry.points
    return {
        "source": telemetry.source,
        "problems": [asdict(problem) for problem in telemetry.problems],
        "trees": [_tree(trace) for trace in traces(spans)],
        "operations": [asdict(operation) for operation in _summary.operations(spans)],
        "agents": [asdict(agent) for agent in _summary.agents(spans, points)],
        "caches": [asdict(cache) for cache in _summary.caches(points)],
        "lazy_loads": [asdict(load) for load in _summary.lazy_loads(spans)],
        "metrics": [asdict(metric) for metric in _summary.metrics(points)],
    }


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
        "cpu_seconds": span.cpu,
        "self_cpu_seconds": span.self_cpu,
        "suspended_seconds": span.suspended,
        "child_process_cpu_seconds": span.child_process_cpu,
        "memory_growth_bytes": span.memory_growth,
        "memory_peak_bytes": span.memory_peak,
        "error_type": span.error_type,
        "error_message": span.error_message if span.failed else None,
        "lazy_loads": [load.module for load in _summary.lazy_loads([span])],
    }
