"""Telemetry as plain data for users' tests: what a capture holds, and what it leaves behind."""

from __future__ import annotations

import asyncio
import doctest
import gc
import os
import pickle
import re
import subprocess
import sys
import threading
import time
import weakref
from contextlib import ExitStack
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.metrics import Observation
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

from codoperf_otel import (
    _telemetry,
    agent,
    instrument,
    monitor_performance,
    performance_context,
    propagate_context,
    testing,
    tool,
)
from codoperf_otel._telemetry import names
from codoperf_otel.testing import CapturedEvent, CapturedPoint, capture_telemetry

DOCS = Path(__file__).parent.parent / "docs" / "testing.md"


def burn(seconds):
    """Use the thread's CPU for so long."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_a_span_is_plain_data():
    """A span says name, place in the trace, kind, status, duration, attributes and events."""
    with capture_telemetry() as captured, agent("planner", version="2"), tool("search"):
        trace.get_current_span().add_event("found", {"count": 3})
    parent, span = captured.span("invoke_agent planner"), captured.span("execute_tool search")
    assert captured.spans == [span, parent]
    assert (span.parent, span.parent_id, span.trace_id) == (parent.name, parent.span_id, parent.trace_id)
    assert (parent.parent, parent.parent_id) == (None, None)
    assert (len(span.trace_id), len(span.span_id)) == (32, 16)
    assert (span.kind, span.status, span.status_description) == ("INTERNAL", "UNSET", None)
    assert 0 < span.duration < parent.duration
    assert parent.start_time <= span.start_time <= time.time_ns()
    assert parent.attributes["gen_ai.agent.version"] == "2"
    assert span.events == (CapturedEvent("found", {"count": 3}),)


def test_a_failure_is_captured_and_passes_through():
    """The block's exception leaves unchanged, and its span says what failed."""
    error = ValueError("no such index")
    raises = pytest.raises(ValueError, match="no such index")
    with raises as raised, capture_telemetry() as captured, performance_context("load"):
        raise error
    assert raised.value is error
    span = captured.span("load")
    assert (span.status, span.status_description) == ("ERROR", "no such index")
    assert span.attributes["error.type"] == "ValueError"
    assert [event.name for event in span.events] == ["exception"]
    assert span.events[0].attributes["exception.type"] == "ValueError"
    failed = captured.metric(names.OPERATION_DURATION).point({"error.type": "ValueError"})
    assert failed.count == 1


def test_a_histogram_has_count_and_sum():
    """A duration metric counts the calls of the block and sums their durations."""
    with capture_telemetry() as captured:
        for _ in range(3):
            with performance_context("step"):
                pass
    metric = captured.metric(names.OPERATION_DURATION)
    assert (metric.kind, metric.unit) == ("histogram", "s")
    point = metric.point({names.OPERATION_NAME: "step"})
    assert (point.count, point.value) == (3, None)
    assert point.sum == pytest.approx(sum(span.duration for span in captured.spans))


def test_a_counter_has_what_the_block_added():
    """Counters are cumulative in the process; earlier calls are not in a block's values."""

    @monitor_performance
    def both():
        burn(0.02)

    @monitor_performance
    def before_only():
        burn(0.001)

    both()
    before_only()
    with capture_telemetry() as idle:
        pass
    with capture_telemetry() as captured:
        both()
    assert names.FUNCTION_CPU_TIME not in idle.metrics
    (span,) = captured.spans
    metric = captured.metric(names.FUNCTION_CPU_TIME)
    assert metric.kind == "counter"
    key = names.CODE_FUNCTION_NAME
    assert metric.points == (
        CapturedPoint({key: span.attributes[key]}, pytest.approx(span.attributes[names.CPU_TIME], abs=1e-6)),
    )


def test_a_state_is_what_it_is():
    """Up-down counters are read where the block stands, not as differences."""
    where = {names.OPERATION_NAME: "under way"}
    with (
        performance_context("under way"),
        capture_telemetry() as captured,
        performance_context("under way"),
    ):
        assert captured.metric(names.OPERATION_ACTIVE).point(where).value == 2
    assert captured.metric(names.OPERATION_ACTIVE).point(where).value == 1
    assert captured.metric(names.OPERATION_ACTIVE).kind == "updowncounter"


@pytest.mark.skipif(sys.platform != "linux", reason="memory peaks are read on Linux")
def test_a_gauge_is_read_at_the_end():
    """A gauge is of kind gauge and has its last value."""
    with capture_telemetry() as captured, performance_context("weigh"):
        pass
    metric = captured.metric(names.OPERATION_MEMORY_PEAK)
    assert (metric.kind, metric.unit) == ("gauge", "By")
    peak = captured.span("weigh").attributes[names.PROCESS_MEMORY_PEAK]
    assert metric.point({names.OPERATION_NAME: "weigh"}).value == peak


def test_what_was_captured_stays():
    """Later calls change nothing, inside the block there is what ended so far, and it can be pickled."""
    with capture_telemetry() as captured:
        with performance_context("first"):
            assert captured.spans == []
        assert [span.name for span in captured.spans] == ["first"]
        assert captured.metric(names.OPERATION_DURATION).point().count == 1
        with performance_context("second"):
            pass
    kept = pickle.dumps((captured.spans, captured.metrics))
    with performance_context("third"):
        pass
    assert [span.name for span in captured.spans] == ["first", "second"]
    assert pickle.loads(kept) == (captured.spans, captured.metrics)


def test_the_binding_of_before_is_restored(telemetry):
    """Spans, durations and observables go again to the providers that were bound before the block."""
    with capture_telemetry() as captured:
        with performance_context("inside"):
            pass
        _telemetry.observe(names.PROCESS_UPTIME, lambda: [Observation(7)])
    with performance_context("after"):
        pass
    try:
        assert [span.name for span in captured.spans] == ["inside"]
        assert [span.name for span in telemetry.spans()] == ["after"]
        assert telemetry.values(names.OPERATION_DURATION) == {frozenset({(names.OPERATION_NAME, "after")}): 1}
        assert telemetry.values(names.PROCESS_UPTIME) == {frozenset(): 7}
    finally:
        _telemetry.unobserve(names.PROCESS_UPTIME)


def test_nested_captures_each_have_their_block(telemetry):
    """An inner capture has what ran in it, the outer one all of it, in spans and in every metric."""
    with capture_telemetry() as outer:
        with performance_context("work"):
            burn(0.01)
        with capture_telemetry() as inner, performance_context("work"):
            burn(0.005)
        with performance_context("work"):
            pass
    assert telemetry.spans() == []
    assert (len(inner.spans), len(outer.spans)) == (1, 3)
    for captured in (inner, outer):
        duration = captured.metric(names.OPERATION_DURATION).point()
        assert duration.count == len(captured.spans)
        assert duration.sum == pytest.approx(sum(span.duration for span in captured.spans))
        cpu = captured.metric(names.OPERATION_CPU_TIME).point().value
        assert cpu == pytest.approx(sum(s.attributes[names.CPU_TIME] for s in captured.spans), abs=1e-6)


def test_overlapping_captures_end_in_any_order(telemetry):
    """A capture goes on when the one that was opened before it ends; the last one restores."""
    with ExitStack() as first, ExitStack() as second:
        one = first.enter_context(capture_telemetry())
        two = second.enter_context(capture_telemetry())
        first.close()
        with performance_context("late"):
            pass
    with performance_context("after"):
        pass
    assert (one.spans, [span.name for span in two.spans]) == ([], ["late"])
    assert [span.name for span in telemetry.spans()] == ["after"]


def test_a_binding_made_in_the_block_stays(telemetry):
    """Code that binds providers itself keeps them; a capture inside of it goes back to them."""
    with capture_telemetry() as captured:
        instrument(tracer_provider=telemetry.tracer_provider, meter_provider=telemetry.meter_provider)
        with capture_telemetry() as inner, performance_context("seen"):
            pass
        with performance_context("missed"):
            pass
        bound = _telemetry.active()
    with performance_context("after"):
        pass
    assert _telemetry.active() is bound
    assert (captured.spans, [span.name for span in inner.spans]) == ([], ["seen"])
    assert [span.name for span in telemetry.spans()] == ["missed", "after"]


@pytest.mark.parametrize("sampler", [ALWAYS_ON, ALWAYS_OFF])
def test_a_users_span_is_the_parent(sampler):
    """What runs inside a span of another provider belongs to its trace, be that sampled or not."""
    tracer = TracerProvider(sampler, shutdown_on_exit=False).get_tracer("user")
    with (
        tracer.start_as_current_span("request") as outer,
        capture_telemetry() as captured,
        performance_context("work"),
    ):
        pass
    span, context = captured.span("work"), outer.get_span_context()
    assert span.trace_id == trace.format_trace_id(context.trace_id)
    assert (span.parent, span.parent_id) == (None, trace.format_span_id(context.span_id))


def test_tasks_and_threads_are_captured():
    """Concurrent tasks, a thread and an executor's thread report to the block, under the right parents."""

    @tool("in task")
    async def step(suspensions):
        with performance_context(f"suspend {suspensions} times"):
            for _ in range(suspensions):
                await asyncio.sleep(0)

    @tool("in executor")
    def blocking():
        pass

    @tool("in thread")
    def lent():
        pass

    @agent("worker")
    async def work():
        await asyncio.gather(step(3), step(1))
        await asyncio.to_thread(blocking)
        thread = threading.Thread(target=propagate_context(lent))
        thread.start()
        thread.join()

    with capture_telemetry() as captured:
        asyncio.run(work())
    assert captured.tree().splitlines() == [
        "invoke_agent worker",
        "  execute_tool in task",
        "    suspend 3 times",
        "  execute_tool in task",
        "    suspend 1 times",
        "  execute_tool in executor",
        "  execute_tool in thread",
    ]
    durations = captured.metric(names.EXECUTE_TOOL_DURATION)
    assert durations.point({names.GEN_AI_TOOL_NAME: "in task"}).count == 2


def test_no_thread_is_left_and_none_is_started():
    """A capture is deterministic: nothing runs in the background."""
    before = threading.enumerate()
    with capture_telemetry():
        assert threading.enumerate() == before
    assert threading.enumerate() == before


def test_nothing_of_a_capture_is_kept():
    """Providers and spans are freed after the block: a long test session does not grow."""
    with capture_telemetry():
        tracer = weakref.ref(_telemetry.active().tracer)
        instruments = weakref.ref(_telemetry.active().instruments)
    gc.collect()
    assert (tracer(), instruments()) == (None, None)


def test_the_tree_is_legible():
    """Failures say their reason in one line, events are marked, siblings are in the order of their starts."""
    with capture_telemetry() as captured, agent("planner"):
        trace.get_current_span().add_event("started")
        with pytest.raises(ValueError, match="too long"), tool("search"):  # noqa: PT012
            with performance_context("rank"):
                pass
            raise ValueError("too long\nby two lines")
        with tool("read"):
            pass
    assert captured.tree() == (
        "invoke_agent planner\n"
        "  * started\n"
        "  execute_tool search  [ERROR: too long]\n"
        "    * exception\n"
        "    rank\n"
        "  execute_tool read"
    )


def test_a_tree_may_be_deep():
    """Depth is not bounded by the interpreter's recursion limit."""
    depth = sys.getrecursionlimit() + 100
    with capture_telemetry() as captured, ExitStack() as stack:
        for _ in range(depth):
            stack.enter_context(tool("down"))
    assert captured.tree().splitlines()[-1] == "  " * (depth - 1) + "execute_tool down"


def test_a_missing_or_doubled_span_shows_the_tree():
    """`span` names what was asked for and shows all spans, the empty block too."""
    with capture_telemetry() as captured, agent("planner"):
        for _ in range(2):
            with tool("search"):
                pass
    shown = "  invoke_agent planner\n    execute_tool search\n    execute_tool search"
    for name, count in (("execute_tool serch", 0), ("execute_tool search", 2)):
        with pytest.raises(AssertionError) as raised:
            captured.span(name)
        assert str(raised.value) == f"{count} spans are named {name!r} among\n{shown}"
    with capture_telemetry() as empty:
        pass
    with pytest.raises(AssertionError, match="0 spans are named 'x' among\n  none"):
        empty.span("x")


def test_a_missing_metric_or_point_shows_what_there_is():
    """`metric` lists the names, `point` the attributes; a point must be the only one."""
    with capture_telemetry() as captured:
        for name in ("one", "two"):
            with performance_context(name):
                pass
    with pytest.raises(AssertionError) as raised:
        captured.metric("codoperf.operation.durations")
    first, *listed = str(raised.value).splitlines()
    assert first == "no metric is named 'codoperf.operation.durations' among"
    assert "  codoperf.operation.duration" in listed
    metric = captured.metric(names.OPERATION_DURATION)
    for wanted, count in ((None, 2), ({names.OPERATION_NAME: "three"}, 0)):
        with pytest.raises(AssertionError) as raised:
            metric.point(wanted)
        assert str(raised.value) == (
            f"{count} points of codoperf.operation.duration have {wanted or {}} among\n"
            "  {'codoperf.operation.name': 'one'}\n"
            "  {'codoperf.operation.name': 'two'}"
        )


def test_the_environment_has_no_say(monkeypatch, caplog):
    """A test captures every span, whatever sampling and resources its environment asks for."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    monkeypatch.setenv("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "a_detector_that_fails")
    with capture_telemetry() as captured, performance_context("work"):
        pass
    assert captured.span("work").name == "work"
    assert caplog.records == []


def test_a_disabled_sdk_is_an_error(monkeypatch):
    """With OTEL_SDK_DISABLED the SDK makes nothing, so the setting is named and nothing is bound."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "True")
    bound = _telemetry.active()
    with pytest.raises(ValueError, match=r"OTEL_SDK_DISABLED is 'True': it must be unset"):
        capture_telemetry().__enter__()
    assert _telemetry.active() is bound


def test_without_the_sdk_one_error_says_what_to_install():
    """The module imports on the API alone; a capture then says what is missing."""
    program = (
        "import sys; sys.modules['opentelemetry.sdk'] = None\n"
        "from codoperf_otel.testing import capture_telemetry\n"
        "with capture_telemetry(): pass"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    message = r"capture_telemetry\(\) needs opentelemetry\.sdk\S*: pip install 'codoperf-otel\[otlp\]'"
    assert re.fullmatch(f"ImportError: {message}", done.stderr.splitlines()[-1]), done.stderr


def run_pytest(folder, *arguments):
    """Run pytest on the files in a folder, with no plugins but those named."""
    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


PLUGIN = "_codoperf_otel_pytest"

WITH_FIXTURE = """
import sys
assert not {"codoperf_otel", "opentelemetry"} & set(sys.modules)

from codoperf_otel import performance_context

def test_first(capture_telemetry):
    with performance_context("a"):
        pass
    assert capture_telemetry.span("a")

def test_second(capture_telemetry):
    assert capture_telemetry.spans == []

def test_failing(capture_telemetry):
    with performance_context("a"):
        pass
    capture_telemetry.span("b")
"""


def test_the_fixture_captures_one_test_each(tmp_path):
    """The plugin imports nothing when it is loaded; each test has its own capture; failures are legible."""
    (tmp_path / "test_it.py").write_text(WITH_FIXTURE)
    done = run_pytest(tmp_path, "-p", PLUGIN)
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    assert "1 failed" in done.stdout
    assert "E       AssertionError: 0 spans are named 'b' among\nE         a\n" in done.stdout
    assert "testing.py" not in done.stdout


def test_the_installed_package_offers_the_fixture():
    """pytest finds the plugin by its entry point."""
    (found,) = entry_points(group="pytest11", name="codoperf_otel")
    assert found.value == PLUGIN
    assert found.load().capture_telemetry


def test_pytest_may_run_where_the_package_is_imported_already(tmp_path):
    """The package asks for no assertion rewriting, so pytest does not warn that it came too late for it."""
    (tmp_path / "test_it.py").write_text("def test_nothing(capture_telemetry): pass")
    program = (
        "import sys, codoperf_otel, pytest\n"
        "sys.exit(pytest.main(['-W', 'error::pytest.PytestAssertRewriteWarning', '-p', 'no:cacheprovider']))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_examples_of_the_docs_hold(tmp_path):
    """What docs/testing.md shows passes as it stands there."""
    (example,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    (tmp_path / "test_docs.py").write_text(example)
    done = run_pytest(tmp_path, "-p", PLUGIN)
    assert "3 passed" in done.stdout, done.stdout + done.stderr
    assert doctest.testmod(testing).failed == 0
