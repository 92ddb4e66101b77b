"""Pauses by the garbage collector are measured, and the long ones are on the spans that they hit."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import pytest

from codoperf_otel import _telemetry, performance_context
from codoperf_otel._calls import late_events
from codoperf_otel._calls.gc_pauses import GcPauses
from codoperf_otel._readings import process_metrics
from codoperf_otel._telemetry import names

MS = 1_000_000


class Clock:
    """A clock on which every collection takes as long as it says."""

    def __init__(self, pause_ns):
        self.now = 0
        self.pause_ns = pause_ns

    def __call__(self):
        self.now += self.pause_ns
        return self.now


@pytest.fixture
def collections(telemetry, idle):
    """Notes pauses of the given length, until the test ends; the collector runs only when it is asked to."""
    started = []

    def start(pause_ns):
        noted = GcPauses(Clock(pause_ns))
        started.append(noted)
        noted.start()
        return noted

    gc.collect()
    gc.disable()
    yield start
    gc.enable()
    for noted in started:
        noted.shutdown()
    _telemetry.unobserve(names.CPYTHON_GC_COLLECTIONS)


def events(telemetry, name):
    """The pauses on a span, as generation and seconds."""
    return [
        tuple(event.attributes.values())
        for event in telemetry.span(name).events
        if event.name == "codoperf.gc.pause"
    ]


def test_durations(collections, telemetry):
    """One point per generation, with the sum of its pauses."""
    collections(2 * MS)
    gc.collect(0)
    gc.collect(0)
    gc.collect()
    points = telemetry.points("codoperf.gc.pause.duration")
    found = {next(iter(key))[1]: (point.count, point.sum) for key, point in points.items()}
    assert found == {0: (2, pytest.approx(0.004)), 2: (1, pytest.approx(0.002))}
    assert next(iter(points.values())).explicit_bounds[-1] == 1.0
    assert telemetry.values("cpython.gc.collections")


def test_no_instrument_is_made_while_metrics_are_collected(collections, telemetry):
    """The SDK holds a lock then for which whoever makes an instrument waits; what was noted is kept."""
    noted = collections(MS)
    other = type(telemetry)()
    _telemetry.bind(other.tracer_provider, other.meter_provider)
    gc.collect()
    assert other.values("codoperf.gc.pause.duration") == {}
    assert names.GC_PAUSE_DURATION not in _telemetry.active().instruments.histograms
    noted.record_pending()
    assert other.values("codoperf.gc.pause.duration") == {frozenset({("cpython.gc.generation", 2)}): 1}
    other.meter_provider.shutdown()
    other.tracer_provider.shutdown()


def test_long_pause_is_an_event_of_the_innermost_span(collections, telemetry):
    """With its generation and duration; a short one is none."""
    noted = collections(10 * MS)
    with performance_context("outer"), performance_context("inner"):
        gc.collect(1)
        noted._clock.pause_ns = 10 * MS - 1
        gc.collect(1)
    assert events(telemetry, "inner") == [(1, 0.01)]
    assert events(telemetry, "outer") == []
    assert not late_events.waiting


def test_a_call_that_runs_on_keeps_its_newest_pauses(collections, telemetry):
    """What waits for its end is bounded."""
    noted = collections(10 * MS)
    with performance_context("service"):
        for _ in range(2_000):
            gc.collect(0)
        (events_waiting,) = late_events.waiting.values()
        assert len(events_waiting) == 1_000
        assert events_waiting[-1].__self__ == noted._waiting[-1]


def test_pause_outside_any_span(collections):
    """It is no event, and nothing is kept."""
    collections(10 * MS)
    gc.collect()
    assert not late_events.waiting


def test_nothing_is_noted_after_shutdown(collections, telemetry, idle):
    """The interpreter's hooks are as before, and the sampler is free."""
    before = list(gc.callbacks)
    noted = collections(10 * MS)
    telemetry.points("codoperf.gc.pause.duration")
    assert idle._turns
    noted.shutdown()
    assert gc.callbacks == before
    assert not idle._turns
    with performance_context("work"):
        gc.collect()
    assert events(telemetry, "work") == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_forked_child_begins_anew(collections):
    """What the parent noted is the parent's."""
    noted = collections(MS)
    gc.collect()
    child = os.fork()
    if child == 0:
        noted.begin_anew()
        gc.collect()
        os._exit(len(noted._waiting))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


def test_a_collection_whose_begin_was_not_seen_is_no_pause(collections):
    """A finalizer may fork or configure in the midst of one, whose length is unknown then."""
    noted = collections(MS)
    noted._noted("start", {"generation": 2})
    noted.begin_anew()
    noted._noted("stop", {"generation": 2})
    assert not noted._waiting
    noted._noted("start", {"generation": 2})
    noted.shutdown()
    noted.start()
    noted._noted("stop", {"generation": 2})
    assert not noted._waiting


def test_source_of_the_count_stays(collections):
    """The count of collections is what it is without."""
    noted = collections(MS)
    source = process_metrics.SOURCES[names.CPYTHON_GC_COLLECTIONS]
    assert [each.value for each in noted._collections()] == [each.value for each in source()]


def test_configure(tmp_path):
    """Asked for, the durations are in the file; else no hook is set."""
    script = (
        "import codoperf_otel, gc, sys\n"
        "before = list(gc.callbacks)\n"
        "with codoperf_otel.configure(file=sys.argv[1], gc_pauses=sys.argv[2] == 'yes'):\n"
        "    gc.collect()\n"
        "    print(len(gc.callbacks) - len(before))\n"
    )
    for asked, hooks in (("yes", "1"), ("no", "0")):
        folder = tmp_path / asked
        done = subprocess.run(
            [sys.executable, "-c", script, str(folder), asked], capture_output=True, text=True, timeout=60
        )
        assert (done.stdout.strip(), done.stderr) == (hooks, "")
        text = (folder / "metrics.jsonl").read_text()
        assert ("codoperf.gc.pause.duration" in text) is (asked == "yes")
