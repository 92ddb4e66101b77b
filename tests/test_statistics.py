"""Cells and the cardinality bound."""

from __future__ import annotations

import pytest
from fresh_memory import fresh
from opentelemetry import trace
from opentelemetry.context import Context

from codoperf_otel._calls import cells, memory_peaks, recording
from codoperf_otel._calls.operation_sites import operation_site
from codoperf_otel._calls.recorder import MOST_WAITING, NO_EXEMPLAR, DurationRecorder
from codoperf_otel._calls.thread_clock import ThreadClock, thread
from codoperf_otel._telemetry import attribute_sets
from codoperf_otel._telemetry.binding import in_force
from codoperf_otel.agents import agent, tool
from codoperf_otel.performance_monitor import performance_context


@pytest.fixture
def few_places(monkeypatch):
    """Room for three more attribute sets, and tables of this test's own."""
    families = (cells.FUNCTION, cells.OPERATION)
    tables = {family.name_attribute: cells._Table(family) for family in families}
    monkeypatch.setattr(cells, "_tables", tables)
    monkeypatch.setattr(attribute_sets, "_free", 3)


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


def test_memory_peak_is_that_of_the_last_minute(telemetry, no_collection):
    """The gauge shows the highest memory while an operation runs and for a minute after its end."""
    operation = frozenset({("codoperf.operation.name", "grow")})
    with performance_context("grow"):
        block = fresh(50)
        running = telemetry.values("codoperf.operation.memory.peak")[operation]
        block.close()
    ended = telemetry.values("codoperf.operation.memory.peak")[operation]
    attributes = telemetry.span("grow").attributes
    assert running >= attributes["codoperf.process.memory.start"] + (45 << 20)
    assert ended == attributes["codoperf.process.memory.peak"]
    assert ended == pytest.approx(running, abs=4 << 20)  # the kernel counts pages in batches


def test_one_duration_in_ten_milliseconds_of_an_octave_offers_its_exemplar(telemetry, monkeypatch):
    """Of calls in one octave of durations, one per 10 ms offers its span."""
    seen = []

    class Histogram:
        def record(self, seconds, attributes, context):
            seen.append(trace.get_current_span(context).get_span_context().is_valid)

    site = operation_site("offering")
    for wall, ended in ((1000, 0), (1001, 9_999_999), (4000, 9_999_999), (1001, 10_000_000)):
        call = recording.begin(site, thread.clock, Context())
        call.started_ns, call.paused_ns = ended - wall, ended
        call.site_for_agent.cell.active.add(call)
        monkeypatch.setitem(in_force.binding.instruments.histograms, site.histogram, Histogram())
        recording.finish(call, thread.clock)
    assert seen == [True, False, True, True]


def test_memory_peaks_older_than_a_minute_are_forgotten(monkeypatch):
    """A peak stops being shown 60 s after its operation ended; a lower, newer one takes its place."""
    now = 0
    monkeypatch.setattr(memory_peaks, "perf_counter_ns", lambda: now)
    peaks = memory_peaks.MemoryPeaks()
    peaks.add(0, 300, 7)
    peaks.add(10_000_000_000, 200, 9)
    assert peaks.highest() == 300
    now = 65_000_000_000
    assert peaks.highest() == 200
    now = 75_000_000_000
    assert peaks.highest() is None
    assert peaks.ever() == (300, 9)


def test_durations_that_threads_leave_each_other_are_all_recorded(telemetry):
    """A duration that comes while one is being recorded waits for the next record, or the next collection."""
    recorder = cells.cell(cells.OPERATION, "combined", None).recorder
    histogram = Telling(recorder)
    recorder.record(thread.clock, histogram, 1.0, {}, NO_EXEMPLAR)
    assert histogram.seen == [1.0, -1.0]
    other = ThreadClock()
    recorder._at_it[None] = other
    recorder.record(thread.clock, histogram, 2.0, {}, NO_EXEMPLAR)
    assert 2.0 not in histogram.seen
    telemetry.values("codoperf.operation.cpu.time")
    assert histogram.seen[-1] == 2.0


def test_what_waits_for_another_thread_is_bounded():
    """Where a thread that records never comes back, the others record by themselves."""
    recorder = DurationRecorder()
    recorder._at_it[None] = ThreadClock()
    histogram = Telling(recorder)
    for _ in range(MOST_WAITING + 100):
        recorder.record(thread.clock, histogram, -1.0, {}, NO_EXEMPLAR)
    assert len(histogram.seen) >= 100


class Telling:
    """A histogram in whose `record` another call of the same cell ends."""

    def __init__(self, recorder):
        self.recorder = recorder
        self.seen = []

    def record(self, seconds, attributes, context):
        self.seen.append(seconds)
        if seconds == 1.0:
            self.recorder.record(thread.clock, self, -1.0, attributes, context)


def test_instruments_are_made_one_after_the_other(telemetry, monkeypatch):
    """A signal handler that asks for one in the midst of another does not wait for its own thread."""
    instruments = in_force.binding.instruments
    asked, make = [], instruments._make

    def interrupted(name):
        asked.append(f"begins {name}")
        instruments.observe("codoperf.operation.memory.peak")
        make(name)
        asked.append(f"ends {name}")

    monkeypatch.setattr(instruments, "_make", interrupted)
    monkeypatch.setattr(instruments, "_observed", set())
    instruments.observe("codoperf.operation.active")
    assert asked == [
        f"{how} codoperf.operation.{name}" for name in ("active", "memory.peak") for how in ("begins", "ends")
    ]
