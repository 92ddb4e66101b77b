"""Operations that say what Python allocated in them, and which lines did."""

from __future__ import annotations

import os
import pickle
import threading
import tracemalloc

import pytest

from codoperf_otel._calls.allocation_meter import ALLOCATIONS
from codoperf_otel._readings.allocations import Tracing
from codoperf_otel.performance_monitor import track_resource_usage
from codoperf_otel.resource_tracker import ResourceTracker

MIB = 1 << 20
EVENT = "codoperf.memory.allocation"
HERE = __file__


@pytest.fixture(autouse=True)
def nothing_is_traced_afterwards():
    """Whatever a test does, it leaves no tracing."""
    assert not tracemalloc.is_tracing()
    yield
    assert not tracemalloc.is_tracing()


def blocks(number, size=MIB // 100):
    """A line of code that allocates."""
    return [bytes(size) for _ in range(number)]


LINE = blocks.__code__.co_firstlineno + 2


def test_an_operation_says_what_it_allocated_and_where(telemetry):
    """Bytes on the span, and an event per line, the largest first, with file, line, bytes and blocks."""
    with track_resource_usage("load", allocations=True):
        large, small = blocks(200), bytearray(MIB // 4)
    span = telemetry.span("load")
    assert span.attributes["codoperf.memory.allocated"] == pytest.approx(2.25 * MIB, rel=0.05)
    events = [event for event in span.events if event.name == EVENT]
    assert 2 <= len(events) <= 5
    first, second = (dict(event.attributes) for event in events[:2])
    assert first.pop("codoperf.memory.allocated") == pytest.approx(2 * MIB, rel=0.05)
    assert first.pop("codoperf.memory.allocation.count") == 201
    assert first == {"code.file.path": HERE, "code.line.number": LINE}
    assert second["codoperf.memory.allocated"] == pytest.approx(MIB / 4, rel=0.05)
    assert "codoperf.process.memory.peak" in span.attributes
    assert large
    assert small


def test_what_is_freed_again_does_not_count(telemetry):
    """Only what is still in use at the end."""
    with track_resource_usage("load", allocations=True):
        blocks(200)
    assert telemetry.span("load").attributes["codoperf.memory.allocated"] < MIB / 4


def test_nobody_pays_who_does_not_ask(telemetry):
    """Without the option nothing is traced, and nothing is said."""
    with track_resource_usage("load"):
        assert not tracemalloc.is_tracing()
    span = telemetry.span("load")
    assert "codoperf.memory.allocated" not in span.attributes
    assert not span.events


def test_a_tracked_operation_has_it_in_its_result(telemetry):
    """The summary has MiB and lines; the span has attribute and events."""
    tracker = ResourceTracker(60, allocations=True)
    tracker.start_tracking("load")
    kept = blocks(200)
    summary = tracker.stop_tracking("load").summary
    assert summary["allocated_mb"] == pytest.approx(2, rel=0.05)
    largest = summary["top_allocations"][0]
    assert largest.pop("size_mb") == pytest.approx(2, rel=0.05)
    assert largest == {"file": HERE, "line": LINE, "count": 201}
    span = telemetry.span("load")
    assert span.attributes["codoperf.memory.allocated"] == round(summary["allocated_mb"] * MIB)
    assert [event.name for event in span.events] == [EVENT] * len(summary["top_allocations"])
    assert kept


def test_a_result_without_a_span_has_it_too():
    """No provider is needed for the summary."""
    tracker = ResourceTracker(60, allocations=True)
    tracker.start_tracking("load")
    kept = blocks(100)
    assert tracker.stop_tracking("load").summary["allocated_mb"] == pytest.approx(1, rel=0.05)
    assert kept


def test_each_of_several_has_its_own():
    """One that began while another was open, and outlives it, counts from its own beginning."""
    first = Tracing()
    kept = blocks(200)
    second = Tracing()
    more = blocks(100)
    both = first.close()
    assert tracemalloc.is_tracing()
    own = second.close()
    assert both is not None
    assert own is not None
    assert both.size == pytest.approx(3 * MIB, rel=0.05)
    assert own.size == pytest.approx(MIB, rel=0.1)
    assert kept
    assert more


def test_the_programs_own_tracing_goes_on():
    """Where the program traces by itself, an operation does not end it, and counts only its own."""
    tracemalloc.start()
    try:
        before = blocks(200)
        traced = Tracing()
        kept = blocks(100)
        found = traced.close()
        assert found is not None
        assert found.size == pytest.approx(MIB, rel=0.1)
        assert tracemalloc.is_tracing()
        assert before
        assert kept
    finally:
        tracemalloc.stop()


def test_tracing_that_the_program_ended_says_nothing(telemetry):
    """There is no figure then, rather than a wrong one."""
    with track_resource_usage("load", allocations=True):
        tracemalloc.stop()
    assert "codoperf.memory.allocated" not in telemetry.span("load").attributes


def test_a_second_close_says_nothing():
    """What has ended is not measured again."""
    traced, other = Tracing(), Tracing()
    assert traced.close() is not None
    assert traced.close() is None
    assert other.close() is not None


def test_what_is_dropped_traces_no_more():
    """A tracker that is forgotten while it tracks leaves no tracing."""
    tracker = ResourceTracker(60, allocations=True)
    tracker.start_tracking("load")
    assert tracemalloc.is_tracing()
    del tracker
    assert not tracemalloc.is_tracing()


def test_threads_begin_and_end_at_once():
    """The last one to end stops it, and all have their figures."""
    found = []

    def work():
        for _ in range(10):
            traced = Tracing()
            found.append(traced.close())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 40
    assert None not in found


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_traces_nothing_by_itself():
    """What the parent traces is the parent's: in the child it has ended, without a figure."""
    traced = Tracing()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            was_tracing = tracemalloc.is_tracing()
            own = Tracing()
            code = 0 if not was_tracing and traced.close() is None and own.close() is not None else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert traced.close() is not None


def test_the_meter_is_pickled_by_name():
    """A decorated function goes to another process with it."""
    assert pickle.loads(pickle.dumps(ALLOCATIONS)) is ALLOCATIONS
    func = track_resource_usage("load", allocations=True)(blocks)
    assert func(1, 1) == [b"\0"]
