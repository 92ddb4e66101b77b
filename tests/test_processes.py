"""What runs in another process is part of the operation that started it, and names its agent."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import pytest
from opentelemetry import baggage, context, propagate, trace

from codoperf_otel import (
    agent,
    current_agent,
    instrument,
    performance_context,
    propagate_context,
    propagation_env,
    uninstrument,
)
from codoperf_otel._calls.context import continue_from_environment
from codoperf_otel._calls.runtime_context import runtime
from codoperf_otel._workers import threads

CHILD = """
import codoperf_otel as co
with co.configure(file="out", threads={threads}):
    with co.performance_context("child"):
        pass
"""


def state():
    """The trace, the span and the agent in force."""
    found = trace.get_current_span().get_span_context()
    return found.trace_id, found.span_id, current_agent()


@pytest.fixture
def nothing_current():
    """Whatever a test leaves current is taken away."""
    around = runtime.get_current()
    yield
    runtime.attach(around)


@pytest.mark.parametrize("threads", [True, False])
def test_a_program_is_part_of_the_operation(telemetry, tmp_path, threads):
    """Its spans are in the same trace, children of the span that was current, with the agent's name."""
    with agent("planner") as scope, performance_context("starts"):
        variables = propagation_env()
        trace_id, span_id, _ = state()
    assert scope is not None
    subprocess.run(
        [sys.executable, "-c", CHILD.format(threads=threads)],
        env=os.environ | variables,
        cwd=tmp_path,
        check=True,
        timeout=60,
    )
    (line,) = (tmp_path / "out" / "traces.jsonl").read_text().splitlines()
    (span,) = json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert span["traceId"] == f"{trace_id:032x}"
    assert span["parentSpanId"] == f"{span_id:016x}"
    assert {"key": "gen_ai.agent.name", "value": {"stringValue": "planner"}} in span["attributes"]


def test_the_names_are_the_conventions(telemetry):
    """Trace context and baggage in upper case; the agent is not in baggage."""
    token = context.attach(baggage.set_baggage("tenant", "a b"))
    try:
        with agent("secret"):
            variables = propagation_env()
    finally:
        context.detach(token)
    assert set(variables) == {"TRACEPARENT", "BAGGAGE", "CODOPERF_OTEL_AGENT"}
    assert variables["BAGGAGE"] == "tenant=a+b"


def test_outside_any_operation_there_are_none():
    """Nothing is current, so nothing is told."""
    assert propagation_env() == {}


@pytest.mark.parametrize("name", ["plan\0ner", "\ud800", "100 % (a=b)", "été", " x "])
def test_any_name_arrives(telemetry, monkeypatch, nothing_current, name):
    """An agent's name is any text; the environment takes it, and it is the same on the other side."""
    with agent(name):
        variables = propagation_env()
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    continue_from_environment()
    assert current_agent() == name


def test_what_is_current_stays(telemetry, monkeypatch):
    """The variables do not take the place of an operation in which telemetry is set up."""
    monkeypatch.setenv("CODOPERF_OTEL_AGENT", "starter")
    with agent("here"):
        instrument(tracer_provider=telemetry.tracer_provider, meter_provider=telemetry.meter_provider)
        assert current_agent() == "here"
    assert current_agent() is None
    uninstrument()


def test_wrong_values_are_as_none(monkeypatch, nothing_current):
    """A broken TRACEPARENT, or an empty agent, is ignored."""
    monkeypatch.setenv("TRACEPARENT", "00-broken")
    monkeypatch.setenv("CODOPERF_OTEL_AGENT", "")
    continue_from_environment()
    assert state() == (0, 0, None)


def test_an_agent_that_is_not_utf8_is_a_name(monkeypatch, nothing_current):
    """Other programs can set the variable to anything."""
    monkeypatch.setenv("CODOPERF_OTEL_AGENT", "a%ff")
    continue_from_environment()
    assert current_agent() == "a\ufffd"


def test_a_propagator_that_fails_costs_the_trace_only(telemetry, monkeypatch, nothing_current, caplog):
    """The program goes on, the agent is still told, and it is logged."""

    def failing(*_, **__):
        raise ValueError("no propagator")

    monkeypatch.setattr(propagate, "inject", failing)
    monkeypatch.setattr(propagate, "extract", failing)
    with agent("planner"):
        assert propagation_env() == {"CODOPERF_OTEL_AGENT": "planner"}
    monkeypatch.setenv("CODOPERF_OTEL_AGENT", "planner")
    continue_from_environment()
    assert current_agent() == "planner"
    assert len(caplog.records) == 2


def test_threads_go_on_from_the_environment(telemetry, monkeypatch, nothing_current):
    """With lending, a thread outside any operation has the starter's agent, and its CPU time is nobody's."""
    monkeypatch.setenv("CODOPERF_OTEL_AGENT", "starter")
    continue_from_environment()
    threads.start()
    found = []
    try:
        thread = threading.Thread(target=lambda: found.append(current_agent()))
        thread.start()
        thread.join()
    finally:
        threads.stop()
    assert found == ["starter"]
    with performance_context("inside"):
        pass
    assert telemetry.span("inside").attributes["gen_ai.agent.name"] == "starter"


def test_a_propagated_function_can_be_pickled(telemetry):
    """Pickled and called, even twice over, it runs for the operation in which it was made."""
    with agent("planner"):
        here = state()
        work = propagate_context(state)
    again = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(partial(work)))))
    assert again() == here
    assert again.func.__name__ == "state"
    assert state() == (0, 0, None)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_process_pool_serves_each_operation_as_its_own(telemetry):
    """A worker that was started in one operation runs for those that submit."""
    with ProcessPoolExecutor(1, get_context("fork")) as pool:
        for name in ("one", "two"):
            with agent(name):
                assert pool.submit(propagate_context(state)).result() == state()
                assert state()[2] == name
