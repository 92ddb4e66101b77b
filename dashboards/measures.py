"""What is measured, by its name in Prometheus, and the queries that several panels make of it."""

from __future__ import annotations

import promql as q
from grafana import Json, Query, graph
from promql import AGENT, OPERATION

FUNCTIONS = "codoperf_function_duration_seconds"
OPERATIONS = "codoperf_operation_duration_seconds"
AGENT_RUNS = "gen_ai_invoke_agent_duration_seconds"
TOOL_RUNS = "gen_ai_execute_tool_duration_seconds"
COUNTS = tuple(f"{metric}_count" for metric in (FUNCTIONS, OPERATIONS, AGENT_RUNS, TOOL_RUNS))
FAILED = 'error_type!=""'

FUNCTION_CPU = "codoperf_function_cpu_time_seconds_total"
OPERATION_CPU = "codoperf_operation_cpu_time_seconds_total"
CPU = (FUNCTION_CPU, OPERATION_CPU)
WAITING = "codoperf_agent_suspended_time_seconds_total"
INFERENCES = "codoperf_agent_inference_calls_total"
TOKENS = "codoperf_agent_token_usage_total"
CHILD_CPU = "codoperf_child_process_cpu_time_seconds_total"

LOOKUPS = "codoperf_cache_lookups_total"
HITS = 'codoperf_cache_result="hit"'
MISSES = 'codoperf_cache_result="miss"'
SAVED = "codoperf_cache_saved_time_seconds_total"
LOADS = "codoperf_cache_load_duration_seconds"
LAZY = "codoperf_lazy_load_duration_seconds"

MEMORY = "process_memory_usage_bytes"
MEMORY_PEAK = "codoperf_operation_memory_peak_bytes"


def named(label: str) -> str:
    """A legend that is the label's value."""
    return f"{{{{{label}}}}}"


OPERATION_NAME = f"{named(AGENT)} · {named(OPERATION)}"


def counted(metric: str, *labels: str) -> str:
    """The total of a counter by labels."""
    return q.add(q.total(metric), *labels)


def hit_ratio(window: q.Window, *labels: str) -> str:
    """The share of hits in the cache lookups."""
    return q.share(q.add(window(LOOKUPS, HITS), *labels), q.add(window(LOOKUPS), *labels))


def saved(window: q.Window, *labels: str) -> str:
    """The time that hits saved; 0 where no lookup was a hit."""
    return q.or_zero(q.add(window(SAVED), *labels), q.add(window(LOOKUPS), *labels))


def runs(metric: str, *labels: str) -> tuple[Query, ...]:
    """A table's columns on a histogram of durations."""
    calls = counted(f"{metric}_count", *labels)
    failed = q.add(q.total(f"{metric}_count", FAILED), *labels)
    buckets = q.total(f"{metric}_bucket")
    return (
        Query(calls, "Calls", "none"),
        Query(q.or_zero(failed, calls), "Failed", "none"),
        Query(q.quantile(0.5, buckets, *labels), "p50", "s"),
        Query(q.quantile(0.95, buckets, *labels), "p95", "s"),
        Query(counted(f"{metric}_sum", *labels), "Total", "s"),
    )


def durations(title: str, metric: str, label: str) -> Json:
    """Median and 95th percentile over time, with exemplars that open the trace."""
    lines = [
        Query(
            q.top(q.quantile(rank, q.rate(f"{metric}_bucket"), label), f"{metric}_sum", label),
            f"{named(label)} {name}",
        )
        for rank, name in ((0.5, "p50"), (0.95, "p95"))
    ]
    text = f"The {q.SHOWN} that took the most time. A point is one call: it opens the call's trace."
    return graph(title, 12, "s", text, *lines, exemplars=True)


def rate_by(metric: str, label: str, legend: str) -> Query:
    """What a counter gains per second, by a label that each of its series has."""
    return Query(f"sum by ({label}) ({q.rate(metric)})", legend.format(named(label)))


def self_cpu(metric: str, name: str, *labels: str) -> Query:
    """The CPU time per second of those that used the most."""
    return Query(q.top(q.add(q.rate(metric), *labels), metric, *labels), name)
