"""Cells and the cardinality bound."""

from __future__ import annotations

import pytest
from opentelemetry.context import Context

from codoperf_otel import _statistics
from codoperf_otel.agents import agent, tool
from codoperf_otel.performance_monitor import performance_context


@pytest.fixture
def few_places(monkeypatch):
    """Room for three more attribute sets, and tables of this test's own."""
    families = (_statistics.FUNCTION, _statistics.OPERATION)
    tables = {family.name_attribute: _statistics._Table(family) for family in families}
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


def test_memory_peak_is_that_of_the_last_minute(telemetry):
    """The gauge shows the highest memory while an operation runs and for a minute after its end."""
    operation = frozenset({("codoperf.operation.name", "grow")})
    with performance_context("grow"):
        block = bytearray(50_000_000)
        running = telemetry.values("codoperf.operation.memory.peak")[operation]
        del block
    ended = telemetry.values("codoperf.operation.memory.peak")[operation]
    attributes = telemetry.span("grow").attributes
    assert running >= attributes["codoperf.process.memory.start"] + 45_000_000
    assert ended == attributes["codoperf.process.memory.peak"]
    assert ended == pytest.approx(running, abs=1 << 20)  # the kernel counts pages in batches


SECOND = 1_000_000_000


def test_one_duration_in_ten_milliseconds_of_an_octave_offers_its_exemplar():
    """Only one call an octave of durations and 10 ms takes its Context along; another octave its own."""
    cell, context, seen = _statistics.Cell({}, {}), Context({"a": 1}), []

    class Histogram:
        def record(self, seconds, attributes, given):
            seen.append(given is context)

    for wall, ended in ((1000, 0), (1001, 9_999_999), (4000, 9_999_999), (1001, 10_000_000)):
        cell.record(Histogram(), wall, ended, {}, context)
    cell.record(Histogram(), 500, 0, {}, None)
    assert seen == [True, False, True, True, False]


def test_memory_peaks_older_than_a_minute_are_forgotten(monkeypatch):
    """A peak stops being shown 60 s after its operation ended; a lower, newer one takes its place."""

    class Window:
        def current(self):
            return None

    now = 0
    monkeypatch.setattr(_statistics, "perf_counter_ns", lambda: now)
    cell = _statistics.Cell({}, {})
    cell.add_peak(Window(), 0, 300)
    cell.add_peak(Window(), 10_000_000_000, 200)
    assert cell.memory_peak() == 300
    now = 65_000_000_000
    assert cell.memory_peak() == 200
    now = 75_000_000_000
    assert cell.memory_peak() is None


def test_durations_that_threads_leave_each_other_are_all_recorded(telemetry):
    """A duration that finds the cell taken is recorded by who has it, or by the next collection."""
    cell = _statistics.cell(_statistics.OPERATION, "combined", None)
    histogram = Telling(cell)
    for seconds in (1, 2):
        cell.record(histogram, seconds * SECOND, 0, {}, None)
    assert histogram.seen == [1.0, -1.0, 2.0, -2.0]
    cell.record_pending()
    assert histogram.seen == [1.0, -1.0, 2.0, -2.0]
    cell._recording.acquire()
    cell.record(histogram, 3 * SECOND, 0, {}, None)
    cell._recording.release()
    assert 3.0 not in histogram.seen
    telemetry.values("codoperf.operation.cpu.time")
    assert histogram.seen[-2:] == [3.0, -3.0]


class Telling:
    """A histogram in whose `record` another call of the same cell ends."""

    def __init__(self, cell):
        self.cell = cell
        self.seen = []

    def record(self, seconds, attributes, context):
        self.seen.append(seconds)
        if seconds > 0:
            self.cell.record(self, -int(seconds) * SECOND, 0, attributes, context)
