"""What agents used, when several run at once, is the same in the report, in Prometheus and in Jaeger."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from typing import Any

import known_agents
import pytest
from known_agents import Known, misread
from real_stack import Stack, eventually

pytestmark = [pytest.mark.stack, pytest.mark.once]

AGENT = "gen_ai.agent.name"


@pytest.fixture(scope="module")
def agents(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Known]:
    """What is known of each agent of a program that has sent everything; its report is right."""
    folder = str(tmp_path_factory.mktemp("cache"))
    program = [sys.executable, "-P", known_agents.__file__, stack.otlp_grpc, folder]
    done = subprocess.run(program, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    assert said["wrong"] == {}
    found = {name: Known() for name in said["agents"]}
    for name, known in found.items():
        vars(known).update(said["agents"][name])
    return found


def assert_right(agents: dict[str, Known], found: dict[str, dict[str, float]]) -> None:
    """Every figure of every agent is within 3 % of what is known, or 3 ms."""
    assert {name: misread(known, found[name]) for name, known in agents.items()} == {
        name: {} for name in agents
    }


SERIES = {
    "cpu": "codoperf_agent_cpu_time_seconds_total",
    "waited": "codoperf_agent_suspended_time_seconds_total",
    "programs": "codoperf_agent_child_process_cpu_time_seconds_total",
    "saved": "codoperf_agent_cache_saved_time_seconds_total",
    "tools": "codoperf_agent_tool_calls_total",
    "hits": 'codoperf_agent_cache_lookups_total{codoperf_cache_result="hit"}',
    "misses": 'codoperf_agent_cache_lookups_total{codoperf_cache_result="miss"}',
}


def test_prometheus_has_what_each_agent_used(stack, agents):
    """CPU time, waits, programs, tools and cache of each agent."""

    def by_agent(series: str) -> dict[str, float]:
        found = stack.query(f"sum by (gen_ai_agent_name) ({series})")
        return {one["metric"].get("gen_ai_agent_name", ""): float(one["value"][1]) for one in found}

    eventually(lambda: by_agent(SERIES["tools"]), lambda found: found.keys() >= agents.keys())
    figures = {figure: by_agent(series) for figure, series in SERIES.items()}
    found = {name: {figure: values.get(name, 0) for figure, values in figures.items()} for name in agents}
    assert_right(agents, found)


def tags(span: dict[str, Any]) -> dict[str, Any]:
    """The attributes of a span in Jaeger."""
    return {tag["key"]: tag["value"] for tag in span["tags"]}


def events(spans: list[dict[str, Any]], name: str) -> int:
    """How many events of a name these spans have."""
    return sum(
        field["key"] == "event" and field["value"] == name
        for span in spans
        for event in span["logs"]
        for field in event["fields"]
    )


def summed(spans: list[dict[str, Any]]) -> dict[str, float]:
    """The figures of an agent from its spans. A plain function waits while it uses no CPU time."""
    (run,) = (span for span in spans if span["operationName"].startswith("invoke_agent "))
    blocked = run["duration"] / 1e6 - tags(run)["codoperf.cpu.time"]
    return {
        "cpu": sum(tags(span)["codoperf.cpu.self_time"] for span in spans),
        "waited": tags(run).get("codoperf.suspended.time", blocked),
        "programs": sum(tags(span).get("codoperf.cpu.child_process_time", 0) for span in spans),
        "tools": sum(span["operationName"].startswith("execute_tool ") for span in spans),
        "hits": events(spans, "codoperf.cache.hit"),
        "misses": events(spans, "codoperf.cache.miss"),
    }


def test_the_spans_in_jaeger_add_up_to_what_each_agent_used(stack, agents):
    """The same figures, summed over the spans that name an agent."""

    def spans_of(name: str) -> list[dict[str, Any]]:
        return [span for span in stack.trace(agents[name].trace_id).values() if tags(span).get(AGENT) == name]

    spans = {}
    for name, known in agents.items():
        wanted = known.tools + 1
        spans[name] = eventually(partial(spans_of, name), lambda found, wanted=wanted: len(found) >= wanted)
    assert_right(agents, {name: summed(found) for name, found in spans.items()})
