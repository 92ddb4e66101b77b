"""How late loops are, and what blocked them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from codoperf_otel import monitor_performance
from codoperf_otel._calls import late_events, loop_lag
from codoperf_otel._calls.loop_lag import LoopWatch, LoopWatches
from codoperf_otel.sdk import ResourceSpanProcessor

MS = 1_000_000


class Loop:
    """A loop that runs what it was given when the test says so."""

    def __init__(self):
        self.ready = []
        self.closed = False

    def is_closed(self):
        return self.closed

    def call_soon_threadsafe(self, callback):
        self.ready.append(callback)

    def run_once(self):
        ready, self.ready = self.ready, []
        for callback in ready:
            callback()


class Watched:
    """A watch with a threshold of 100 ms, its loop and its clock."""

    def __init__(self):
        self.now = 0
        self.loop = Loop()
        self.watch = LoopWatch(self.loop, 0.1, lambda: self.now)

    def sample(self, milliseconds):
        """Let the sampler come so much later, on a thread of its own."""
        self.now += milliseconds * MS
        sampler = threading.Thread(target=self.watch)
        sampler.start()
        sampler.join()


@pytest.fixture
def watched():
    return Watched()


@monitor_performance("blocks")
def blocks(watched, *pauses):
    """Runs on the loop's thread while the sampler comes."""
    for pause in pauses:
        watched.sample(pause)


def events(telemetry):
    """The events of the call that blocks."""
    return [dict(event.attributes) for event in telemetry.span("blocks").events]


def test_lag(watched, telemetry):
    """One point for each answer, with the time since it was asked for."""
    for late in (1, 30):
        watched.sample(50)
        assert len(watched.loop.ready) == 1
        watched.now += late * MS
        watched.loop.run_once()
    (point,) = telemetry.points("codoperf.event_loop.lag").values()
    assert (point.count, point.sum) == (2, pytest.approx(0.031))
    assert point.explicit_bounds[-1] == 1.0


def test_a_call_that_blocks_has_an_event(watched, telemetry):
    """With the lag at its end, and the stack in which it was found."""
    blocks(watched, 10, 50, 50, 50, 50)
    (event,) = events(telemetry)
    assert event["codoperf.event_loop.lag"] == pytest.approx(0.2)
    assert "in blocks\n    watched.sample(pause)" in event["code.stacktrace"]
    assert not late_events.waiting


def test_a_call_that_goes_on_has_its_event_with_the_answer(watched, telemetry):
    """What the loop did after it answered is not lag."""

    @monitor_performance("blocks")
    def answers():
        for pause in (10, 50, 50):
            watched.sample(pause)
        watched.loop.run_once()
        watched.now += 1000 * MS

    answers()
    assert [event["codoperf.event_loop.lag"] for event in events(telemetry)] == [pytest.approx(0.1)]


def test_a_span_of_another_library_does_not_hide_the_call(watched, telemetry):
    """The call that blocks has the event, also where a client's span is open in it."""
    telemetry.tracer_provider.add_span_processor(ResourceSpanProcessor())

    @monitor_performance("blocks")
    def asks():
        with telemetry.tracer_provider.get_tracer("client").start_as_current_span("query"):
            for pause in (10, 50, 50):
                watched.sample(pause)

    asks()
    assert len(events(telemetry)) == 1


def test_a_short_block_is_no_event(watched, telemetry):
    """Below the threshold nothing is noted."""
    blocks(watched, 10, 50, 49)
    assert events(telemetry) == []


def test_a_call_that_came_late_is_not_to_blame(watched, telemetry):
    """What blocked the loop before it began is not its doing; who blocks it after that is."""
    for pause in (10, 50):
        watched.sample(pause)
    blocks(watched, 50)
    assert events(telemetry) == []
    telemetry.exporter.clear()
    blocks(watched, 50, 50)
    assert [event["codoperf.event_loop.lag"] for event in events(telemetry)] == [pytest.approx(0.2)]


def test_a_closed_loop_is_let_go(watched, idle):
    """It is not asked, and the sampler is free."""
    idle.subscribe(watched.watch, 1)
    watched.loop.closed = True
    watched.watch()
    assert not idle._turns
    assert not watched.loop.ready


def test_loops_are_watched_while_they_run(idle):
    """From their start to their end; a loop that runs at the start of the watch too."""
    original = asyncio.BaseEventLoop.run_forever
    watches = LoopWatches(0.1)

    async def count():
        return len(idle._turns)

    async def start_inside():
        watches.start()
        return len(idle._turns)

    assert asyncio.run(start_inside()) == 1
    watches.shutdown()
    assert not idle._turns
    watches.start()
    assert asyncio.run(count()) == 1
    assert not idle._turns
    watches.shutdown()
    assert asyncio.run(count()) == 0
    assert asyncio.BaseEventLoop.run_forever is original
    assert loop_lag.ASKED_PER_THRESHOLD == 2


def test_configure(tmp_path):
    """A real loop that is really blocked."""
    script = (
        "import asyncio, codoperf_otel, sys, time\n"
        "@codoperf_otel.monitor_performance('culprit')\n"
        "def culprit():\n"
        "    time.sleep(1)\n"
        "async def main():\n"
        "    await asyncio.sleep(0.05)\n"
        "    culprit()\n"
        "    await asyncio.sleep(0.05)\n"
        "with codoperf_otel.configure(file=sys.argv[1], event_loop=0.02):\n"
        "    asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "codoperf.event_loop.blocked" in (tmp_path / "traces.jsonl").read_text()
    assert "codoperf.event_loop.lag" in (tmp_path / "metrics.jsonl").read_text()
