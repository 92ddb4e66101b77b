"""Lean metrics against the SDK's own: the same calls come out as the same points."""

from __future__ import annotations

import gc
import json
import math
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    InMemoryMetricReader,
    MetricExporter,
    MetricExportResult,
    MetricsData,
)
from opentelemetry.sdk.metrics.export import (
    Histogram as HistogramData,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler

import codoperf_otel
from codoperf_otel import _telemetry
from codoperf_otel._calls import cells, run_counts
from codoperf_otel._telemetry import attribute_sets, durations, names
from codoperf_otel.sdk.lean import metrics_start_rule
from codoperf_otel.sdk.lean import points as lean_points
from codoperf_otel.sdk.lean.exporter import LeanMetricExporter, LeanMetricReader
from codoperf_otel.sdk.lean.provider import LeanMeterProvider
from codoperf_otel.sdk.otlp_json.metrics import encode_metrics as encode_json

CUMULATIVE, DELTA = AggregationTemporality.CUMULATIVE, AggregationTemporality.DELTA
RESOURCE = Resource({"service.name": "test"}, "https://resource")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
TAKES_READERS = hasattr(MeterProvider, "add_metric_reader")

Points = dict[frozenset[tuple[str, Any]], Any]


class Sent(MetricExporter):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.data: list[MetricsData] = []
        self.ends = 0

    def export(self, metrics_data, timeout_millis=10_000, **kwargs):
        """Keep it."""
        self.data.append(metrics_data)
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis=10_000):
        """Nothing is held back."""
        return True

    def shutdown(self, timeout_millis=30_000, **kwargs):
        """Count it."""
        self.ends += 1


def lean_reader(sent: Sent, temporality: AggregationTemporality, interval: float = math.inf):
    """A reader of this package, whose exports are kept."""
    kinds = {Histogram: temporality, Counter: temporality}
    rule = metrics_start_rule()
    assert rule is not None
    return LeanMetricReader(LeanMetricExporter(sent, kinds, RESOURCE, rule), interval)


def with_rounded_sums(data: MetricsData) -> MetricsData:
    """The data with sums of 12 digits: from Python 3.12 on, `sum` is more exact than adding floats up."""
    return replace(data, resource_metrics=[_with_rounded_sums(group) for group in data.resource_metrics])


def _with_rounded_sums(part: Any) -> Any:
    if hasattr(part, "scope_metrics"):
        return replace(part, scope_metrics=[_with_rounded_sums(each) for each in part.scope_metrics])
    if hasattr(part, "metrics"):
        return replace(part, metrics=[_with_rounded_sums(each) for each in part.metrics])
    points = [
        replace(point, sum=float(f"{point.sum:.12g}")) if hasattr(point, "sum") else point
        for point in part.data.data_points
    ]
    return replace(part, data=replace(part.data, data_points=points))


class Both:
    """The same calls, collected by a lean reader and by one of the SDK's, per temporality."""

    def __init__(self, *temporalities: AggregationTemporality, sampler: Sampler = ALWAYS_ON) -> None:
        self.sent = {each: Sent() for each in temporalities}
        self.readers = {each: lean_reader(self.sent[each], each) for each in temporalities}
        self.stock = {each: InMemoryMetricReader({Histogram: each, Counter: each}) for each in temporalities}
        self.provider = LeanMeterProvider([*self.readers.values(), *self.stock.values()], RESOURCE)
        self.tracer_provider = TracerProvider(sampler, shutdown_on_exit=False)
        self.instruments = _telemetry.bind(self.tracer_provider, self.provider).instruments
        self.provider.keep_durations(self.instruments)
        self.instruments.records_durations = True

    def collected(self, temporality: AggregationTemporality | None = None) -> tuple[MetricsData, MetricsData]:
        """What each of a temporality, else of the only one, has now: the lean one, and the SDK's."""
        asked = temporality or next(iter(self.sent))
        self.readers[asked].collect()
        data = self.stock[asked].get_metrics_data()
        assert data is not None
        return with_rounded_sums(self.sent[asked].data.pop()), with_rounded_sums(data)

    def assert_equal(self, temporality: AggregationTemporality | None = None) -> MetricsData:
        """Compare both as JSON and as OTLP; returns the lean one."""
        ours, theirs = self.collected(temporality)
        assert as_json(ours) == as_json(theirs)
        assert as_otlp(ours) == as_otlp(theirs)
        return ours

    def close(self) -> None:
        """End both."""
        _telemetry.bind()
        self.provider.shutdown()


@pytest.fixture
def both() -> Iterator[Callable[..., Both]]:
    """Makes the two; they end with the test."""
    made: list[Both] = []

    def make(*args: Any, **options: Any) -> Both:
        made.append(Both(*args, **options))
        return made[-1]

    gc.collect()  # unfinished calls of other tests end now, not between the two collections
    yield make
    for each in made:
        each.close()
    assert not durations.positions


@pytest.fixture(params=[CUMULATIVE, DELTA], ids=["cumulative", "delta"])
def temporality(request: pytest.FixtureRequest) -> AggregationTemporality:
    """Each test under both."""
    return request.param


def timeless(data: MetricsData) -> MetricsData:
    """The same data with all times equal, metrics sorted by name, points by attributes.

    Our observables are left out: they are read at each collection, and what other tests have left may change
    between the two.
    """
    return replace(
        data,
        resource_metrics=[
            replace(
                group,
                scope_metrics=[
                    replace(
                        scope,
                        metrics=sorted(
                            [
                                replace(metric, data=replace(metric.data, data_points=_timeless(metric.data)))
                                for metric in scope.metrics
                                if scope.scope.name != "codoperf_otel"
                                or isinstance(metric.data, HistogramData)
                            ],
                            key=lambda metric: metric.name,
                        ),
                    )
                    for scope in sorted(group.scope_metrics, key=lambda scope: scope.scope.name)
                ],
            )
            for group in data.resource_metrics
        ],
    )


def _timeless(data: Any) -> list[Any]:
    stripped = [
        replace(
            point,
            start_time_unix_nano=1,
            time_unix_nano=2,
            exemplars=[replace(exemplar, time_unix_nano=3) for exemplar in point.exemplars],
        )
        for point in data.data_points
    ]
    return sorted(stripped, key=lambda point: sorted(point.attributes.items()))


def as_json(data: MetricsData) -> list[Any]:
    """As the SDK's JSON and as this package's file has it."""
    return [json.loads(timeless(data).to_json()), encode_json(timeless(data))]


def as_otlp(data: MetricsData) -> bytes:
    """As it goes over OTLP."""
    return encode_metrics(timeless(data)).SerializeToString(deterministic=True)


def points(data: MetricsData | None, name: str = names.FUNCTION_DURATION) -> Points:
    """The points of a metric by their attributes, of which each is there once."""
    found = listed(data, name)
    keyed = {frozenset(point.attributes.items()): point for point in found}
    assert len(keyed) == len(found)
    return keyed


def listed(data: MetricsData | None, name: str) -> list[Any]:
    """The points of a metric."""
    return [
        point
        for group in (data.resource_metrics if data else ())
        for scope in group.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    ]


def counts(data: MetricsData | None, name: str = names.FUNCTION_DURATION) -> list[int]:
    """The counts of a metric's points."""
    return [point.count for point in points(data, name).values()]


def function(name: str = "work") -> Callable[..., None]:
    """A monitored function of its own attribute set; it raises what it is given."""

    def work(error: Exception | None = None) -> None:
        if error is not None:
            raise error

    work.__qualname__ = f"{name}.{next(_number)}"
    return codoperf_otel.monitor_performance(work)


_number = iter(range(10_000))


def idle() -> None:
    """Do nothing."""


def failing(work: Callable[..., None], error: Exception) -> None:
    """Call it, and let it fail."""
    with pytest.raises(type(error)):
        work(error)


def _raise(error: Exception) -> None:
    raise error


def test_calls_of_every_kind(both, temporality):
    """Calls of every kind have the SDK's points, collection after collection."""
    pair = both(temporality)
    work, tool, agent = function(), codoperf_otel.tool("hammer")(idle), codoperf_otel.agent("smith")(idle)
    work(), work(), tool(), agent(), codoperf_otel.workflow("forge")(idle)()
    with codoperf_otel.performance_context("operation"):
        work()
    data = pair.assert_equal()
    for name in durations.HISTOGRAMS:
        assert counts(data, name)
    work()
    pair.assert_equal()
    pair.assert_equal()
    function("another")()
    pair.assert_equal()


@pytest.mark.parametrize("runs", [3, 600])
def test_counts_of_runs(both, temporality, runs):
    """What runs of agents count has the SDK's points, over many folds and collection after collection."""
    pair = both(temporality)
    tool = codoperf_otel.tool("hammer")(idle)

    @codoperf_otel.agent("smith")
    def smith(tools: int) -> None:
        for _ in range(tools):
            tool()

    for number in range(runs):
        smith(number % 3)
    codoperf_otel.agent("carpenter")(idle)()
    found = points(pair.assert_equal(), names.INVOKE_AGENT_TOOL_CALLS)
    seen = {dict(key)[names.GEN_AI_AGENT_NAME]: (point.count, point.sum) for key, point in found.items()}
    assert seen == {"smith": (runs, runs), "carpenter": (1, 0)}
    smith(200), failing(codoperf_otel.agent("smith")(_raise), ValueError())
    found = points(pair.assert_equal(), names.INVOKE_AGENT_TOOL_CALLS)
    smiths = found[frozenset({(names.GEN_AI_AGENT_NAME, "smith")})]
    before = runs if temporality is CUMULATIVE else 0
    assert (smiths.count, smiths.sum, smiths.max) == (before + 2, before + 200, 200)
    pair.assert_equal()


def test_errors_have_their_own_sets(both, temporality):
    """A failed call is in the set of its error."""
    pair = both(temporality)
    work = function()
    work(), failing(work, ValueError()), failing(work, KeyError())
    found = points(pair.assert_equal())
    errors = {dict(key).get("error.type") for key in found}
    assert errors == {None, "ValueError", "KeyError"}


def test_overflow_set(both, temporality, monkeypatch):
    """Where no attribute set is left, durations are in the overflow's."""
    pair = both(temporality)
    monkeypatch.setattr(attribute_sets, "_free", 0)
    first, second = function(), function()
    first(), second()
    found = points(pair.assert_equal())
    assert [(dict(key), point.count) for key, point in found.items()] == [({"otel.metric.overflow": True}, 2)]


@pytest.mark.parametrize("sampler", [ALWAYS_ON, ALWAYS_OFF], ids=["sampled", "not sampled"])
@pytest.mark.parametrize("exemplar_filter", [None, "trace_based", "always_on", "always_off"])
def test_exemplars(both, temporality, monkeypatch, exemplar_filter, sampler):
    """The variable decides which durations are exemplars; each is sent once."""
    if exemplar_filter is not None:
        monkeypatch.setenv("OTEL_METRICS_EXEMPLAR_FILTER", exemplar_filter)
    pair = both(temporality, sampler=sampler)
    work = function()
    with pair.tracer_provider.get_tracer("t").start_as_current_span("outer"):
        work()
    (point,) = points(pair.assert_equal()).values()
    expected = exemplar_filter == "always_on" or (exemplar_filter != "always_off" and sampler is ALWAYS_ON)
    assert len(point.exemplars) == expected
    pair.assert_equal()


def test_exemplar_without_a_span_has_no_ids(both, monkeypatch):
    """Under `always_on` a call without a span is an exemplar all the same."""
    monkeypatch.setenv("OTEL_METRICS_EXEMPLAR_FILTER", "always_on")
    pair = both(CUMULATIVE)
    codoperf_otel.monitor_performance("spanless", min_span_duration=60)(idle)()
    (point,) = points(pair.collected()[0]).values()
    assert [(exemplar.trace_id, exemplar.span_id) for exemplar in point.exemplars] == [(None, None)]


def test_times(both, temporality):
    """A point starts and ends where the SDK's own does, each by the collections of its reader."""
    pair = both(temporality)
    old, new = function("old"), function("new")
    rounds, times = [], []
    for functions in ((old,), (old, new), (new,)):
        began = time.time_ns()
        for each in functions:
            each()
        times.append((began, time.time_ns()))
        rounds.append(pair.collected())
        time.sleep(0.05)
    ends = [[end_of(data) for data in sides] for sides in rounds]
    for number, sides in enumerate(rounds):
        ours, theirs = (points(data) for data in sides)
        assert ours.keys() == theirs.keys()
        for key, point in ours.items():
            stock = theirs[key]
            assert point.time_unix_nano == ends[number][0]
            from_previous = number > 0 and stock.start_time_unix_nano == ends[number - 1][1]
            if from_previous:
                assert point.start_time_unix_nano == ends[number - 1][0]
            else:
                starts = point.start_time_unix_nano, stock.start_time_unix_nano
                assert any(began <= min(starts) <= max(starts) <= ended for began, ended in times)


def end_of(data: MetricsData) -> int:
    """The end time of a collection, by what the SDK has collected itself."""
    (end,) = {point.time_unix_nano for point in points(data, names.FUNCTION_ACTIVE).values()}
    return end


def test_collection_during_a_call(both, temporality):
    """A running call is counted when it has ended."""
    pair = both(temporality)
    inner = function("inner")

    @codoperf_otel.monitor_performance
    def outer() -> None:
        inner()
        assert counts(pair.assert_equal()) == [1]

    outer()
    assert sum(counts(pair.assert_equal())) == (2 if temporality is CUMULATIVE else 1)


def test_many_calls(both, temporality):
    """Buckets, bounds and counts are the SDK's over many folds, and sums but for rounding."""
    pair = both(temporality)
    work = function()
    for calls in (1000, 700, 1):
        for _ in range(calls):
            work()
        ours, theirs = (next(iter(points(data).values())) for data in pair.collected())
        assert replace(ours, sum=0, start_time_unix_nano=0, time_unix_nano=0, exemplars=[]) == replace(
            theirs, sum=0, start_time_unix_nano=0, time_unix_nano=0, exemplars=[]
        )
        assert ours.sum == pytest.approx(theirs.sum, rel=1e-12)


def test_eight_threads_count_exactly(both, temporality):
    """No duration is lost or counted twice, collections in between included."""
    pair = both(temporality)
    work = function()
    threads = [threading.Thread(target=lambda: [work() for _ in range(2000)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    found = []
    while any(thread.is_alive() for thread in threads):
        found += counts(pair.collected()[0])
    for thread in threads:
        thread.join()
    found += counts(pair.collected()[0])
    assert (sum(found) if temporality is DELTA else found[-1]) == 16_000


def test_monitors_that_are_gone_leave_their_counts_and_nothing_else(both, temporality):
    """The durations of many short-lived monitors are kept once, in their cell."""
    pair = both(temporality)
    for number in range(3):
        codoperf_otel.monitor_performance("gone", codoperf_otel.PerformanceMonitor())(idle)()
        gc.collect()
        expected = number + 1 if temporality is CUMULATIVE else 1
        assert counts(pair.assert_equal()) == [expected]
    ledgers = [key for cell in cells._tables[names.CODE_FUNCTION_NAME].all() for key in cell._ledgers]
    assert "gone" not in {name for name, _ in ledgers}


def test_outputs_of_two_temporalities():
    """Each exporter has its own position: one counts from the start, one from its last collection."""
    sent = {CUMULATIVE: Sent(), DELTA: Sent()}
    readers = {kind: lean_reader(sent[kind], kind) for kind in sent}
    provider = LeanMeterProvider(list(readers.values()), RESOURCE)
    provider.keep_durations(_telemetry.bind(TracerProvider(shutdown_on_exit=False), provider).instruments)
    work = function()
    for kinds in ([CUMULATIVE], [DELTA, CUMULATIVE], [CUMULATIVE], [DELTA]):
        work()
        for kind in kinds:
            readers[kind].collect()
    work()
    _telemetry.bind()
    provider.shutdown()
    for reader in readers.values():
        reader.collect()
    assert [counts(data) for data in sent[CUMULATIVE].data] == [[1], [2], [3]]
    assert [counts(data) for data in sent[DELTA].data] == [[2], [2]]


def test_exporters_of_two_temporalities_have_the_sdks_points(both):
    """Each of two exporters has them, whichever collects when, with exemplars and errors' own sets."""
    pair = both(CUMULATIVE, DELTA)
    work, agent = function(), codoperf_otel.agent("smith")(idle)
    for kinds in ([CUMULATIVE], [DELTA, CUMULATIVE], [CUMULATIVE], [DELTA], [DELTA, CUMULATIVE]):
        work(), agent(), failing(work, ValueError())
        for kind in kinds:
            found = points(pair.assert_equal(kind))
            assert len(found) == 2
    assert {point.count for point in found.values()} == {5}


def test_what_waits_is_sent_where_the_sdk_has_nothing(temporality):
    """After the binding has ended, the SDK collects nothing; the durations are sent all the same."""
    sent = Sent()
    reader = lean_reader(sent, temporality)
    provider = LeanMeterProvider([reader], RESOURCE)
    provider.keep_durations(_telemetry.bind(TracerProvider(shutdown_on_exit=False), provider).instruments)
    function()()
    _telemetry.bind(None, NoOpMeterProvider())
    provider.force_flush()
    (data,) = sent.data
    assert counts(data) == [1]
    (group,) = data.resource_metrics
    assert (group.resource, group.schema_url) == (RESOURCE, "https://resource")
    assert [scope.scope for scope in group.scope_metrics] == [lean_points.SCOPE]
    provider.force_flush()
    assert len(sent.data) == (2 if temporality is CUMULATIVE else 1)  # as the SDK's histogram has it
    _telemetry.bind()
    provider.shutdown()


@pytest.mark.parametrize("bound", [True, False], ids=["bound", "binding ended"])
def test_shutdown_exports_once(temporality, bound):
    """The last export of a periodic reader has what waits; nothing is kept afterwards."""
    sent = Sent()
    provider = LeanMeterProvider([lean_reader(sent, temporality, 60_000)], RESOURCE)
    instruments = _telemetry.bind(TracerProvider(shutdown_on_exit=False), provider).instruments
    provider.keep_durations(instruments)
    work = function()
    work()
    if not bound:
        _telemetry.bind(None, NoOpMeterProvider())
    provider.shutdown()
    assert [counts(data) for data in sent.data] == [[1]]
    assert sent.ends == 1
    assert not instruments.keeps_durations
    assert not durations.positions
    _telemetry.bind()


@pytest.mark.skipif(not TAKES_READERS, reason="this SDK takes no readers later")
def test_late_reader_has_durations_from_then_on():
    """Its durations come from the SDK's histogram, which this package's exporters leave out."""
    sent, late = Sent(), InMemoryMetricReader()
    reader = lean_reader(sent, CUMULATIVE)
    provider = LeanMeterProvider([reader], RESOURCE)
    instruments = _telemetry.bind(TracerProvider(shutdown_on_exit=False), provider).instruments
    provider.keep_durations(instruments)
    work, agent = function(), codoperf_otel.agent("late")(idle)
    work(), agent()
    assert not instruments.records_durations
    provider.add_metric_reader(late)
    work(), work(), agent(), agent()
    reader.collect()
    data = late.get_metrics_data()
    for name in (names.FUNCTION_DURATION, names.INVOKE_AGENT_TOOL_CALLS, names.INVOKE_AGENT_INFERENCE_CALLS):
        assert (counts(sent.data[-1], name), counts(data, name)) == ([3], [2])
    _telemetry.bind()
    provider.shutdown()


def test_trial_says_no_to_other_points(monkeypatch):
    """Where a point does not come out as the SDK's own, metrics are not lean."""
    assert metrics_start_rule() is not None
    made = lean_points._point
    monkeypatch.setattr(lean_points, "_point", lambda *args: replace(made(*args), min=0))
    assert metrics_start_rule() is None


def test_trial_that_fails_is_a_no(monkeypatch):
    """Whatever goes wrong in the trial, `configure` goes on with the SDK's histogram."""
    monkeypatch.setattr("codoperf_otel.sdk.lean.metrics_trial._round", lambda *_: 1 / 0)
    assert metrics_start_rule() is None


def test_histograms_are_all_that_sites_and_runs_have():
    """What exporters leave out of the SDK's points is exactly what is kept here."""
    folder = Path(codoperf_otel.__file__).parent
    places = ("performance_monitor.py", "agents.py", "_calls/operation_sites.py")
    text = "".join((folder / place).read_text() for place in places)
    used = {getattr(names, name) for name in re.findall(r"histogram=names\.(\w+)", text)}
    assert used | set(run_counts.HISTOGRAMS) == durations.HISTOGRAMS


PROGRAM = """
import os, sys
import codoperf_otel
from codoperf_otel import _telemetry
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

@codoperf_otel.monitor_performance("work")
def work():
    pass

@codoperf_otel.agent("worker")
def run():
    work()

def is_lean():
    instruments = _telemetry.active().instruments
    assert instruments.keeps_durations is not instruments.records_durations
    return instruments.keeps_durations

folder = sys.argv[1]
"""


def run(program: str, folder: Path, **variables: str) -> str:
    """What a program prints, in an interpreter of its own, which has nothing to complain of."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", PROGRAM + program, str(folder)],
        env={**environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def written(folder: Path, name: str = names.FUNCTION_DURATION) -> list[dict[str, Any]]:
    """The points of a metric in a file, in the order they were written."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [
        point
        for line in lines
        for group in json.loads(line)["resourceMetrics"]
        for scope in group["scopeMetrics"]
        if scope["scope"]["name"] == names.SCOPE
        for metric in scope["metrics"]
        if metric["name"] == name
        for point in metric.get("histogram", metric.get("sum", metric.get("exponentialHistogram")))[
            "dataPoints"
        ]
    ]


FALLBACKS: dict[str, tuple[str, dict[str, str]]] = {
    "foreign provider": ("metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))", {}),
    "exponential": (
        "",
        {
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": "base2_exponential_bucket_histogram",
        },
    ),
    "the SDK counts itself": ("", {"OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED": "true"}),
    "variable": ("", {"CODOPERF_OTEL_LEAN_METRICS": "false"}),
    "trial": ("from codoperf_otel.sdk.lean import points; points._exemplar = lambda exemplar: None", {}),
    "disabled": ("", {"OTEL_SDK_DISABLED": "true"}),
}


@pytest.mark.parametrize("name", FALLBACKS)
def test_fallbacks_record_in_the_sdks_histogram(tmp_path, name):
    """Where durations cannot be kept without a difference, all is as without lean metrics."""
    if name == "foreign provider" and not TAKES_READERS:
        pytest.skip("this SDK takes no readers later")
    before, variables = FALLBACKS[name]
    program = f"{before}\nwith codoperf_otel.configure(file=folder):\n    run()\n    print(is_lean())\n"
    assert run(program, tmp_path, **variables) == "False\n"
    if name != "disabled":
        for histogram in (names.FUNCTION_DURATION, names.INVOKE_AGENT_TOOL_CALLS):
            assert [point["count"] for point in written(tmp_path, histogram)] == ["1"]


def test_configure_is_lean(tmp_path):
    """A flush and the end send what waits; the points have what a file shows of the SDK's."""
    program = """
with codoperf_otel.configure(file=folder) as handle:
    work()
    print(is_lean())
    assert handle.force_flush()
    work()
"""
    assert run(program, tmp_path) == "True\n"
    first, second = written(tmp_path)
    assert (first["count"], second["count"]) == ("1", "2")
    assert first["startTimeUnixNano"] == second["startTimeUnixNano"] < first["timeUnixNano"]
    assert first["exemplars"]


def test_wrong_value_of_the_variable(monkeypatch):
    """It is named before anything is set up."""
    monkeypatch.setenv("CODOPERF_OTEL_LEAN_METRICS", "maybe")
    with pytest.raises(
        ValueError, match=r"^CODOPERF_OTEL_LEAN_METRICS is 'maybe': it must be true or false$"
    ):
        codoperf_otel.configure()


def test_two_outputs_have_the_same(tmp_path):
    """A file and an endpoint each have all counts."""
    program = """
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

class Received(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/v1/metrics":
            request = ExportMetricsServiceRequest.FromString(body)
            print(*[
                point.count
                for group in request.resource_metrics
                for scope in group.scope_metrics
                for metric in scope.metrics
                if metric.name == "codoperf.function.duration"
                for point in metric.histogram.data_points
            ])
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass

server = HTTPServer(("127.0.0.1", 0), Received)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"
os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf"
with codoperf_otel.configure(file=folder, endpoint=url) as handle:
    work()
    assert is_lean() and handle.force_flush()
    work(), work()
server.shutdown()
server.server_close()
"""
    assert run(program, tmp_path) == "1\n3\n"
    assert [point["count"] for point in written(tmp_path)] == ["1", "3"]


@needs_fork
@pytest.mark.parametrize("preference", ["cumulative", "delta"])
def test_forked_child_begins_from_zero(tmp_path, preference):
    """Its points are its own calls', lean too; the parent goes on."""
    program = """
from codoperf_otel._calls import run_counts

handle = codoperf_otel.configure(file=folder)
run(), run()
assert handle.force_flush()
pid = os.fork()
if pid == 0:
    assert not run_counts._runs
    run()
    assert is_lean()
    handle.shutdown()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
run()
handle.shutdown()
"""
    run(program, tmp_path, OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=preference)
    parent = "3" if preference == "cumulative" else "1"
    for name in (names.FUNCTION_DURATION, names.INVOKE_AGENT_DURATION, names.INVOKE_AGENT_TOOL_CALLS):
        assert [point["count"] for point in written(tmp_path, name)] == ["2", "1", parent], name


@needs_fork
@pytest.mark.parametrize("preference", ["CUMULATIVE", "DELTA"])
def test_points_after_a_fork(tmp_path, preference):
    """A child's points are the SDK's, from zero; the parent's stay the SDK's, too."""
    program = f"""
import concurrent.futures.thread  # else the SDK 1.45 hangs in the child, before anything of ours runs there
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_lean_metrics import AggregationTemporality, Both, codoperf_otel, counts, failing, function, idle

def call():
    work(), codoperf_otel.agent("smith")(idle)(), failing(work, ValueError())

temporality = AggregationTemporality.{preference}
pair, work = Both(temporality), function()
call(), call()
pair.assert_equal()
call()
pid = os.fork()
if pid == 0:
    of_child = Both(temporality)
    call()
    print(counts(of_child.assert_equal()), flush=True)
    call()
    of_child.assert_equal()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
call()
print(counts(pair.assert_equal()))
"""
    parent = "[4, 4]" if preference == "CUMULATIVE" else "[2, 2]"
    assert run(program, tmp_path) == f"[1, 1]\n{parent}\n"


@needs_fork
def test_child_of_a_second_setup_counts_from_zero(tmp_path):
    """What was counted before the second set-up is the parent's; nothing of it is taken off in a child."""
    program = """
with codoperf_otel.configure(file=folder + "/one"):
    for _ in range(100):
        work()
handle = codoperf_otel.configure(file=folder + "/two")
pid = os.fork()
if pid == 0:
    work()
    handle.shutdown()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""
    run(program, tmp_path)
    (cpu,) = written(tmp_path / "two", names.FUNCTION_CPU_TIME)
    assert cpu["asDouble"] > 0


def test_uninstrument_loses_nothing(tmp_path):
    """What was recorded before is sent at the end, though the SDK collects nothing any more."""
    program = """
with codoperf_otel.configure(file=folder + "/unused"):
    pass
with codoperf_otel.configure(file=folder):
    work()
    codoperf_otel.uninstrument()
"""
    run(program, tmp_path)
    assert [point["count"] for point in written(tmp_path)] == ["1"]


def test_second_setup_begins_all_counts_anew(tmp_path):
    """Durations, CPU time and lookups are those since then; running calls are active, statistics go on."""
    program = """
from time import thread_time
cache = codoperf_otel.CacheManager("cache")

@codoperf_otel.monitor_performance("burn")
def burn(seconds):
    cache.get("nothing")
    end = thread_time() + seconds
    while thread_time() < end:
        pass

@codoperf_otel.monitor_performance("outer")
def outer():
    with codoperf_otel.configure(file=folder + "/two") as handle:
        burn(0.05)
        assert handle.force_flush()

with codoperf_otel.configure(file=folder + "/one"):
    burn(0.3), burn(0.2)
burn(0.1)
outer()
print(codoperf_otel.performance_monitor.get_performance_stats("burn")["total_calls"])
"""
    assert run(program, tmp_path) == "4\n"
    one, two = tmp_path / "one", tmp_path / "two"
    assert [point["count"] for point in written(one)] == ["2"]
    assert [point["count"] for point in written(two)] == ["1", "1"]
    assert 0.5 <= written(one, names.FUNCTION_CPU_TIME)[-1]["asDouble"] < 0.6
    (cpu, *_) = written(two, names.FUNCTION_CPU_TIME)
    assert 0.05 <= cpu["asDouble"] < 0.15
    assert [point["asInt"] for point in written(one, names.CACHE_LOOKUPS)] == ["2"]
    assert {point["asInt"] for point in written(two, names.CACHE_LOOKUPS)} == {"1"}
    assert "1" in [point["asInt"] for point in written(two, names.FUNCTION_ACTIVE)]
    starts = {point["startTimeUnixNano"] for point in written(two)}
    assert min(starts) > written(one)[-1]["timeUnixNano"]
