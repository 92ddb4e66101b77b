"""Cells and the cardinality bound."""

from __future__ import annotations

import pytest

from codoperf_otel import _statistics
from codoperf_otel.agents import agent, tool
from codoperf_otel.performance_monitor import performance_context


@pytest.fixture
def few_places(monkeypatch):
    """Room for three more attribute sets, and tables of this test's own."""
    tables = {family: _statistics._Table(family) for family in _statistics._tables}
    monkeypatch.setattr(_statistics, "_tables", tables)
    monkeypatch.setattr(_statistics, "_places", 3)


def test_names_beyond_the_bound_share_the_overflow_set(few_places, telemetry):
    """When no place is left, the rest is counted in one set, and nothing is lost."""
    for number in range(10):
        with performance_context(f"op {number}"):
            pass
    counts = telemetry.values("codoperf.operation.duration")
    assert len(counts) == 4
    assert counts[frozenset({("otel.metric.overflow", True)})] == 7
    assert sum(counts.values()) == 10
    assert len(telemetry.values("codoperf.operation.cpu.time")) == 4


def test_error_types_take_places_too(few_places, telemetry):
    """Each new `error.type` takes a place; without one the failure goes to the overflow set."""
    for number in range(5):
        with pytest.raises(LookupError), performance_context("op"):
            raise type(f"Error{number}", (LookupError,), {})
    counts = telemetry.values("codoperf.operation.duration")
    assert sum(counts.values()) == 5
    assert counts[frozenset({("otel.metric.overflow", True)})] == 3


def test_cell_attributes_are_those_of_the_contract(telemetry):
    """Agents and tools have the convention's attributes on durations and ours on CPU time."""
    with agent("coder"), tool("grep"):
        pass
    assert set(telemetry.values("gen_ai.invoke_agent.duration")) == {
        frozenset({("gen_ai.agent.name", "coder")})
    }
    assert set(telemetry.values("gen_ai.execute_tool.duration")) == {
        frozenset({("gen_ai.tool.name", "grep"), ("gen_ai.agent.name", "coder")})
    }
    cpu = telemetry.values("codoperf.operation.cpu.time")
    assert {dict(key)["codoperf.operation.name"] for key in cpu} >= {"invoke_agent", "execute_tool grep"}
    assert all(dict(key).get("gen_ai.agent.name") == "coder" for key in cpu if "grep" in str(key))
