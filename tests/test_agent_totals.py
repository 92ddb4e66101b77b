"""What an agent used in all, and workflows, which several agents take part in."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from child_times import children_cpu

import codoperf_otel as co
from codoperf_otel import _children

BURN = "import time\nwhile time.process_time() < 0.2: pass"


def burn(seconds):
    """Use CPU time of this thread."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def of_agents(telemetry, name):
    """A total by agent."""
    found = telemetry.values(name)
    assert all(len(attributes) == 1 for attributes in found)
    return {value: total for attributes, total in found.items() for _, value in attributes}


def test_an_agent_has_what_ran_with_it_in_force(telemetry):
    """Functions, operations and tools count for the agent around them, and an agent inside for itself."""

    @co.monitor_performance
    def work(seconds):
        burn(seconds)

    work(0.02)
    assert "totals outer" not in of_agents(telemetry, "codoperf.agent.cpu.time")
    before = time.thread_time()
    for _ in range(2):
        with co.agent("totals outer"), co.tool("search"), co.performance_context("block"):
            work(0.02)
            burn(0.02)
            with co.agent("totals inner"):
                burn(0.04)
    spent = time.thread_time() - before
    found = of_agents(telemetry, "codoperf.agent.cpu.time")
    assert found["totals outer"] >= 0.08
    assert found["totals inner"] >= 0.08
    assert found["totals outer"] + found["totals inner"] <= spent


def test_an_agent_has_the_programs_that_it_started(telemetry):
    """The CPU time of a tool's program counts for the agent."""
    _children.start()
    before = children_cpu()
    try:
        with co.agent("totals starter"), co.tool("program"):
            subprocess.run([sys.executable, "-S", "-c", BURN], check=True)
        took = children_cpu() - before
        subprocess.run([sys.executable, "-S", "-c", BURN], check=True)
    finally:
        _children.stop()
    found = of_agents(telemetry, "codoperf.agent.child_process.cpu.time")
    assert found["totals starter"] == pytest.approx(took, abs=1e-4)


def test_an_agent_has_the_time_that_its_hits_saved(telemetry, tmp_path):
    """A hit saves the agent that asked, whoever had the value computed."""

    took = []

    @co.cached_function(cache_manager=co.CacheManager(tmp_path))
    def slow():
        began = time.perf_counter()
        time.sleep(0.02)
        took.append(time.perf_counter() - began)

    began = time.perf_counter()
    slow()
    longest = time.perf_counter() - began
    with co.agent("totals saver"):
        slow()
        slow()
    saved = of_agents(telemetry, "codoperf.agent.cache.saved.time")
    assert 2 * took[0] <= saved["totals saver"] <= 2 * longest


def test_a_workflow_is_a_span_and_a_duration(telemetry):
    """Its span has the convention's name and attributes; the agents inside are its children."""
    with co.workflow("review"), co.agent("planner"):
        pass
    span = telemetry.span("invoke_workflow review")
    assert span.attributes["gen_ai.operation.name"] == "invoke_workflow"
    assert span.attributes["gen_ai.workflow.name"] == "review"
    assert "gen_ai.agent.name" not in span.attributes
    assert telemetry.parent(telemetry.span("invoke_agent planner")) == "invoke_workflow review"
    (point,) = telemetry.points("gen_ai.workflow.duration").values()
    assert dict(point.attributes) == {"gen_ai.workflow.name": "review"}
    assert point.count == 1
    assert point.explicit_bounds == (1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200)


def test_a_failed_workflow_says_so(telemetry):
    """The error's type is on the span and the duration."""

    @co.workflow
    def review():
        raise KeyError("goal")

    with pytest.raises(KeyError):
        review()
    assert telemetry.span("invoke_workflow review").attributes["error.type"] == "KeyError"
    (attributes,) = telemetry.points("gen_ai.workflow.duration")
    assert dict(attributes) == {"gen_ai.workflow.name": "review", "error.type": "KeyError"}
