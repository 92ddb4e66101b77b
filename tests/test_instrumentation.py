"""The readings begin with `instrument`, once, where it says, and end with `uninstrument`."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref
from dataclasses import dataclass

import pytest
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from codoperf_otel import __version__, _telemetry
from codoperf_otel._readings import cgroup, collection, process_metrics, system_metrics
from codoperf_otel._readings.collection import COMPARED_NS, Readings
from codoperf_otel._telemetry import names
from codoperf_otel.instrumentation import instrument, uninstrument


@pytest.fixture(autouse=True)
def _readings_end():
    yield
    uninstrument()


def metrics(telemetry) -> list[str]:
    """The names of the readings that have data, as often as they appear."""
    data = telemetry.reader.get_metrics_data()
    return [
        metric.name
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.data.data_points and metric.name in process_metrics.SOURCES
    ]


BEFORE = """
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
import codoperf_otel
from codoperf_otel import _telemetry

reader = InMemoryMetricReader()
provider = MeterProvider([reader])
_telemetry.bind(None, provider)
{}
with codoperf_otel.performance_context("work"):
    pass
(scope,) = reader.get_metrics_data().resource_metrics[0].scope_metrics
print(*(metric.name for metric in scope.metrics))
provider.shutdown()
"""


@pytest.mark.parametrize("instruments", [False, True])
def test_nothing_is_read_before(instruments):
    """Nobody's existing series double: without `instrument` there is no process reading."""
    program = BEFORE.format("codoperf_otel.instrument(meter_provider=provider)" if instruments else "")
    done = run_with(None, program)
    assert done.stderr == ""
    found = set(done.stdout.split())
    assert names.OPERATION_DURATION in found
    assert bool(found & set(process_metrics.SOURCES)) is instruments


def test_readings_go_to_the_given_provider_once(telemetry, monkeypatch):
    """However often it is called, each metric is there once, in the given provider."""
    monkeypatch.setattr(cgroup, "memory_limit", lambda: 1e9)  # else there is none on a machine without limits
    monkeypatch.setattr(cgroup, "throttled_time", lambda: 1.0)
    monkeypatch.setattr(process_metrics, "_readings", Readings(process_metrics.read))
    for _ in range(3):
        instrument(tracer_provider=telemetry.tracer_provider, meter_provider=telemetry.meter_provider)
    assert sorted(metrics(telemetry)) == sorted(
        set(process_metrics.SOURCES) - {names.PROCESS_CPU_UTILIZATION}
    )


def test_the_scope_names_the_version_and_the_conventions(telemetry):
    """Spans and metrics say which package made them, and which names they follow."""
    _telemetry.active().tracer.start_span("work").end()
    _telemetry.active().instruments.histograms[names.OPERATION_DURATION].record(1.0)
    (metrics_of_scope,) = telemetry.reader.get_metrics_data().resource_metrics[0].scope_metrics
    for scope in (telemetry.span("work").instrumentation_scope, metrics_of_scope.scope):
        assert (scope.name, scope.version, scope.schema_url) == (
            names.SCOPE,
            __version__,
            names.SCHEMA_URL,
        )


def test_spans_and_histograms_go_to_the_given_providers(telemetry):
    """The binding in force is the one that was asked for."""
    _telemetry.bind()
    instrument(tracer_provider=telemetry.tracer_provider, meter_provider=telemetry.meter_provider)
    _telemetry.active().tracer.start_span("work").end()
    _telemetry.active().instruments.histograms[names.OPERATION_DURATION].record(1.0)
    assert telemetry.span("work")
    assert telemetry.points(names.OPERATION_DURATION)


def test_another_provider_takes_over(telemetry):
    """Called with another provider, the readings are there and no longer in the first."""
    instrument(meter_provider=telemetry.meter_provider)
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    instrument(meter_provider=provider)
    assert metrics(telemetry) == []
    assert reader.get_metrics_data() is not None
    provider.shutdown()


@dataclass
class Unhashable(NoOpMeterProvider):
    """As other libraries make theirs: equal to each other, and so without a hash."""


def test_a_provider_need_have_no_hash():
    """Each has its own instruments, for as long as it is there."""
    first, second = Unhashable(), Unhashable()
    made, other, again = (_telemetry.bind(None, each).instruments for each in (first, second, first))
    assert made is again is not other
    _telemetry.bind()
    kept = weakref.ref(other)
    del second, other
    gc.collect()
    assert kept() is None


class Unreferable:
    """One to which there are no weak references."""

    __slots__ = ()

    def get_meter(self, *_, **__):
        return NoOpMeterProvider().get_meter("none")


def test_a_provider_need_not_be_referred_to_weakly():
    """It has its instruments all the same."""
    provider = Unreferable()
    made, again = (_telemetry.bind(None, provider).instruments for _ in range(2))
    assert made is again
    _telemetry.bind()


def test_uninstrument_ends_the_readings(telemetry):
    """Afterwards spans go to the global provider again, and nothing is read, wherever one binds."""
    instrument(tracer_provider=telemetry.tracer_provider, meter_provider=telemetry.meter_provider)
    uninstrument()
    _telemetry.active().tracer.start_span("elsewhere").end()
    assert telemetry.spans() == []
    _telemetry.bind(telemetry.tracer_provider, telemetry.meter_provider)
    assert metrics(telemetry) == []


def test_first_utilization_is_measured_from_instrument_on(telemetry, monkeypatch):
    """A collection that comes a second after `instrument` has a CPU utilization already."""
    now = [0]
    monkeypatch.setattr(process_metrics, "_readings", Readings(process_metrics.read, lambda: now[0]))
    instrument(meter_provider=telemetry.meter_provider)
    now[0] = COMPARED_NS
    assert names.PROCESS_CPU_UTILIZATION in metrics(telemetry)


def test_the_machine_is_told_of_only_when_asked(telemetry, monkeypatch):
    """`system=True` adds the ``system.*`` metrics; `uninstrument` ends them."""
    now = [0]
    take = lambda at_ns: system_metrics.read(at_ns)._replace(cpu={"user": at_ns, "idle": at_ns})  # noqa: E731
    monkeypatch.setattr(system_metrics, "_readings", collection.Readings(take, lambda: now[0]))

    def told() -> set[str]:
        now[0] += collection.COMPARED_NS
        return {name for name in system_metrics.SOURCES if telemetry.points(name)}

    instrument(meter_provider=telemetry.meter_provider)
    assert told() == set()
    instrument(meter_provider=telemetry.meter_provider, system=True)
    assert told() == set(system_metrics.SOURCES)
    uninstrument()
    instrument(meter_provider=telemetry.meter_provider)
    assert told() == set()


def test_readings_can_begin_again(telemetry):
    """What was ended can be begun anew, in the same provider."""
    instrument(meter_provider=telemetry.meter_provider)
    uninstrument()
    instrument(meter_provider=telemetry.meter_provider)
    assert names.PROCESS_MEMORY_USAGE in metrics(telemetry)


def test_uninstrument_leaves_other_instruments_alone(telemetry):
    """Observables of functions and operations go on after `uninstrument`, at the providers bound next."""
    _telemetry.observe(names.CACHE_ENTRY_LIMIT, list)
    uninstrument()
    try:
        assert names.CACHE_ENTRY_LIMIT in _telemetry.binding._sources
    finally:
        _telemetry.unobserve(names.CACHE_ENTRY_LIMIT)


FORK = """
import gc, os, sys, threading, time
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from codoperf_otel.instrumentation import instrument

def read():
    return {
        (metric.name, *point.attributes.values()): point.value
        for resource in reader.get_metrics_data().resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    }

reader = InMemoryMetricReader()
provider = MeterProvider([reader])
instrument(meter_provider=provider)
gc.collect()
kept = bytearray(50 << 20)
sum(range(20_000_000))
parent = read()
pid = os.fork()
if pid == 0:
    more = bytearray(80 << 20)
    child = read()
    assert child["process.cpu.time", "user"] < parent["process.cpu.time", "user"]
    assert child["process.uptime",] < parent["process.uptime",]
    assert child["process.memory.usage",] - parent["process.memory.usage",] > 70 << 20
    assert child["cpython.gc.collections", 2] == 0
    gc.collect()
    time.sleep(0.06)
    assert read()["cpython.gc.collections", 2] == 1
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert abs(read()["process.memory.usage",] - parent["process.memory.usage",]) < 20 << 20
provider.shutdown()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="forks, and reads /proc")
def test_a_forked_child_reads_itself():
    """After a fork the readings are the child's own, and the parent's go on."""
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


LEAN = """
import sys
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
import codoperf_otel

@codoperf_otel.monitor_performance("work")
def work():
    print(type(trace.get_current_span()).__name__)

exporter = InMemorySpanExporter()
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(SimpleSpanProcessor(exporter))
{}
work()
print([span.name for span in exporter.get_finished_spans()])
"""
GLOBAL = "trace.set_tracer_provider(provider); "
BEGINNINGS = (
    "codoperf_otel.instrument(tracer_provider=provider)",
    f"{GLOBAL}codoperf_otel.instrument()",
    "codoperf_otel.CodoperfInstrumentor().instrument(monitor='shop.*', tracer_provider=provider)",
    f"{GLOBAL}codoperf_otel.CodoperfInstrumentor().instrument()",
)


def run_with(lean_spans, program):
    """A fresh interpreter under this value of the variable, None for none."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "CODOPERF_"))}
    variables = {} if lean_spans is None else {"CODOPERF_OTEL_LEAN_SPANS": lean_spans}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**kept, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("beginning", BEGINNINGS)
@pytest.mark.parametrize(
    ("lean_spans", "kind"),
    [("true", "LeanSpan"), (" True ", "LeanSpan"), ("false", "_Span"), (None, "_Span")],
)
def test_lean_spans_under_providers_of_the_program(beginning, lean_spans, kind):
    """They are there where the variable asks for them, by either way to instrument, and nowhere else."""
    done = run_with(lean_spans, LEAN.format(beginning))
    assert (done.stdout, done.stderr) == (f"{kind}\n['work']\n", "")


def test_lean_spans_leave_given_providers_alone():
    """Monitoring by patterns changes nothing of where `instrument` sends to."""
    more = "codoperf_otel.CodoperfInstrumentor().instrument(monitor='shop.*')"
    done = run_with("true", LEAN.format(f"{BEGINNINGS[0]}\n{more}"))
    assert (done.stdout, done.stderr) == ("LeanSpan\n['work']\n", "")


@pytest.mark.parametrize("beginning", BEGINNINGS[:3])
def test_wrong_value_for_lean_spans(beginning):
    """One ValueError names the variable, its value and what is allowed."""
    done = run_with("maybe", LEAN.format(beginning))
    assert done.stderr.splitlines()[-1] == (
        "ValueError: CODOPERF_OTEL_LEAN_SPANS is 'maybe': it must be true or false"
    )


def test_wrong_value_where_all_comes_from_variables():
    """Under `opentelemetry-instrument` it is one log line, and the program goes on."""
    done = run_with("maybe", LEAN.format(BEGINNINGS[3]))
    assert done.stdout == "_Span\n['work']\n"
    (line,) = done.stderr.splitlines()
    assert line.startswith("nothing is monitored: CODOPERF_OTEL_LEAN_SPANS is 'maybe': it must be")


def test_lean_spans_without_the_sdk():
    """Where there is no SDK the variable does no harm."""
    without = "import sys; sys.modules['opentelemetry.sdk'] = None; import codoperf_otel as c; c.instrument()"
    done = run_with("true", f"{without}\nwith c.performance_context('op'): print('ran')")
    assert (done.stdout, done.stderr) == ("ran\n", "")
