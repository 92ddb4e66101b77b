"""The file exporters: what a line is, and that processes may share the files."""

from __future__ import annotations

import json
import math
import os
import shutil
import stat
import subprocess
import sys
from base64 import b64decode
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common import metrics_encoder, trace_encoder
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceState

from codoperf_otel.sdk.lines import Lines
from codoperf_otel.sdk.otlp_json.metrics import encode_metrics
from codoperf_otel.sdk.otlp_json.spans import encode_spans
from codoperf_otel.sdk.private_files import prepare
from codoperf_otel.sdk.signals.metrics import FileMetricExporter
from codoperf_otel.sdk.signals.traces import FileSpanExporter

IDS = ("traceId", "spanId", "parentSpanId")
REMOTE = SpanContext(0xA, 0xB, is_remote=True, trace_state=TraceState([("vendor", "1"), ("other", "2")]))
ATTRIBUTES = {
    "text": "é ☃ 🐍 \n",
    "empty": "",
    "yes": True,
    "no": False,
    "zero": 0,
    "big": 2**60,
    "negative": -5,
    "half": 0.5,
    "whole": 2.0,
    "nan": math.nan,
    "up": math.inf,
    "down": -math.inf,
    "texts": ["a", "b"],
    "numbers": (1, 2),
    "none": [],
    "flags": [True, False],
}


def official(message):
    """What the OTLP encoder and protobuf's JSON printer give, ids as hex."""
    document = MessageToDict(message, use_integers_for_enums=True)
    return json.loads(json.dumps(document), object_hook=_hex_ids)


def _hex_ids(item):
    return {name: b64decode(value).hex() if name in IDS else value for name, value in item.items()}


def ours(document):
    """What is read back from a line of ours."""
    return json.loads(json.dumps(document))


@pytest.fixture
def spans():
    """Spans with everything a span may have."""
    exporter = InMemorySpanExporter()
    resources = Resource({"service.name": "a", "n": 1}, "https://schema/r"), Resource({})
    for resource in resources:
        provider = TracerProvider(
            resource=resource,
            span_limits=SpanLimits(max_span_attributes=len(ATTRIBUTES), max_events=2, max_links=2),
        )
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        tracer = provider.get_tracer("lib", "1.2", "https://schema/s", {"scope.attribute": "x"})
        remote = trace.set_span_in_context(NonRecordingSpan(REMOTE))
        with tracer.start_as_current_span("remote child", context=remote, kind=SpanKind.SERVER) as span:
            span.set_attributes({"dropped": 1, **ATTRIBUTES})
            for number in range(3):
                span.add_event(f"event {number}", {"n": number}, timestamp=1_000 + number)
                span.add_link(REMOTE, {"link": number})
            with tracer.start_as_current_span("child", links=[Link(span.get_span_context())]) as child:
                child.set_status(Status(StatusCode.ERROR, "no"))
            tracer.start_span("", kind=SpanKind.CLIENT).end()
        bare = provider.get_tracer("").start_span("root", start_time=1)
        bare.set_status(StatusCode.OK)
        bare.end(2)
    return exporter.get_finished_spans()


def metrics_data(temporality):
    """Metrics of every kind, with exemplars."""
    reader = InMemoryMetricReader({Counter: temporality, Histogram: temporality})
    exponential = View(instrument_name="exponential", aggregation=ExponentialBucketHistogramAggregation())
    provider = MeterProvider([reader], Resource({"service.name": "a"}, "https://r"), views=[exponential])
    meter = provider.get_meter("lib", "1", "https://s", {"scope.attribute": 1})
    measure(meter)
    with TracerProvider().get_tracer("t").start_as_current_span("s"):
        measure(meter)
    provider.get_meter("other").create_counter("bare").add(0)
    data = reader.get_metrics_data()
    provider.shutdown()
    return data


def measure(meter):
    """Record once on each kind of instrument."""
    scalars = {name: value for name, value in ATTRIBUTES.items() if isinstance(value, str | int | float)}
    meter.create_counter("ints", "1", "how many").add(3, scalars)
    meter.create_counter("floats").add(0.5)
    meter.create_up_down_counter("up.and.down").add(-2)
    meter.create_observable_gauge("gauge", [lambda _: [observation(1.5), observation(math.nan, a=1)]])
    meter.create_observable_counter("observed", [lambda _: [observation(7)]])
    for value in (0, 0.2, 3, 1e9, 5):
        meter.create_histogram("explicit", "s").record(value, {"a": "b"})
        meter.create_histogram("exponential").record(value)
        meter.create_histogram("exponential").record(value, {"sign": "both"})


def observation(value, **attributes):
    """An observation of an asynchronous instrument."""
    from opentelemetry.metrics import Observation

    return Observation(value, attributes)


def test_span_line_is_the_official_encoding(spans):
    """Attributes, events, links, status, flags, dropped counts, scopes and resources are as OTLP has them."""
    assert ours(encode_spans(spans)) == official(trace_encoder.encode_spans(spans))


@pytest.mark.parametrize("temporality", [AggregationTemporality.CUMULATIVE, AggregationTemporality.DELTA])
def test_metric_line_is_the_official_encoding(temporality):
    """Sums, gauges, both histograms and exemplars are as OTLP has them."""
    data = metrics_data(temporality)
    encoded = ours(encode_metrics(data))
    assert encoded == official(metrics_encoder.encode_metrics(data))
    assert "exemplars" in json.dumps(encoded)


def test_bytes_and_mappings_are_encoded():
    """The kinds of value that newer SDKs allow are as OTLP has them."""
    from opentelemetry.sdk.trace import ReadableSpan

    attributes = {"bytes": b"\x00\xff", "map": {"a": 1, "b": {}}, "mixed": [1, "a", [2.5]]}
    span = ReadableSpan(
        "s", SpanContext(1, 2, is_remote=False), attributes=attributes, start_time=1, end_time=2
    )
    assert ours(encode_spans([span])) == official(trace_encoder.encode_spans([span]))


def test_files_are_private_and_appended_to(tmp_path, spans):
    """The folder is 0700, the files 0600, and a later exporter goes on after what is there."""
    path = tmp_path / "out" / "traces.jsonl"
    for _ in range(2):
        exporter = FileSpanExporter(path)
        exporter.export(spans)
        exporter.shutdown()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first, second = path.read_text().splitlines()
    assert first == second


def test_metrics_are_one_line_a_collection(tmp_path):
    """Nothing to tell is no line."""
    exporter = FileMetricExporter(tmp_path / "metrics.jsonl")
    data = metrics_data(AggregationTemporality.CUMULATIVE)
    exporter.export(data)
    exporter.export(type(data)([]))
    exporter.shutdown()
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line) == ours(encode_metrics(data))


def test_closed_exporter_does_not_write_to_another_file(tmp_path, spans):
    """A late export fails, whoever has the descriptor's number by then."""
    exporter = FileSpanExporter(tmp_path / "traces.jsonl")
    exporter.shutdown()
    with (tmp_path / "other").open("w") as other, pytest.raises(OSError, match="the file is closed"):
        exporter.export(spans)
    assert other.closed
    assert (tmp_path / "other").read_text() == ""


SHARER = """
import sys
import codoperf_otel
handle = codoperf_otel.configure(file=sys.argv[1])
for _ in range(20):
    for _ in range(50):
        with codoperf_otel.performance_context(sys.argv[2], padding="x" * 200):
            pass
    handle.force_flush()
"""


def test_processes_share_the_files(tmp_path):
    """Lines of processes that write at once are whole, and none is lost."""
    names = ["one", "two", "three", "four"]
    running = [subprocess.Popen([sys.executable, "-c", SHARER, tmp_path, name]) for name in names]
    assert [process.wait(60) for process in running] == [0] * len(names)
    lines = (tmp_path / "traces.jsonl").read_text().splitlines()
    found = [
        span["name"]
        for line in lines
        for group in json.loads(line)["resourceSpans"]
        for span in group["scopeSpans"][0]["spans"]
    ]
    assert {name: found.count(name) for name in names} == dict.fromkeys(names, 1000)
    assert all(json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines())


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX limits")
def test_full_disk_is_one_warning(tmp_path):
    """The program runs on, and the lost exports are counted."""
    program = (
        "import resource, sys, codoperf_otel\n"
        "handle = codoperf_otel.configure(file=sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))\n"
        "for _ in range(3):\n    with codoperf_otel.performance_context('x'): pass\n"
        "    assert not handle.force_flush()\n"
        "print(handle.failures[sys.argv[1] + '/traces.jsonl'])"
    )
    environ = {**os.environ, "OTEL_METRICS_EXPORTER": "none"}
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path], capture_output=True, text=True, timeout=60, env=environ
    )
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr
    warnings = [line for line in done.stderr.splitlines() if f"{tmp_path}/traces.jsonl" in line]
    assert len(warnings) == 1
    assert "no room left for a whole line" in warnings[0]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX files")
def test_nothing_is_written_through_what_others_may_have_made(tmp_path):
    """A symbolic link and a FIFO are refused at the start, with one error, and nobody waits."""
    victim = tmp_path / "precious"
    victim.write_text("precious")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "traces.jsonl").symlink_to(victim)
    (tmp_path / "piped").mkdir()
    os.mkfifo(tmp_path / "piped" / "traces.jsonl")
    for folder, what in (("linked", "is a symbolic link"), ("piped", "is not a regular file")):
        with pytest.raises(PermissionError, match=what):
            Lines(tmp_path / folder / "traces.jsonl")
        program = "import sys, codoperf_otel\ncodoperf_otel.configure(file=sys.argv[1])"
        done = subprocess.run(
            [sys.executable, "-c", program, tmp_path / folder], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 1
        assert f"file is '{tmp_path / folder}': it must be a folder that can be written" in done.stderr
        assert what in done.stderr
    assert victim.read_text() == "precious"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_a_folder_of_somebody_else_is_refused(tmp_path):
    """So is a file of somebody else's, and what is reached through a link of theirs."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    path = tmp_path / "traces.jsonl"
    path.touch()
    for given in (folder, path):
        os.chown(given, 1234, 1234)
    for each in (folder / "traces.jsonl", path):
        with pytest.raises(PermissionError, match="belongs to another user"):
            Lines(each)
    (tmp_path / "ours").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "ours")
    os.lchown(tmp_path / "link", 1234, 1234)
    with pytest.raises(PermissionError, match="a link of another user's"):
        Lines(tmp_path / "link" / "traces.jsonl")
    with pytest.raises(PermissionError, match="a link of another user's"):
        prepare(tmp_path / "link")


@pytest.mark.skipif(not hasattr(os, "fchmod"), reason="needs POSIX modes")
def test_a_file_that_is_there_becomes_private(tmp_path):
    """What is appended is read by its user alone."""
    path = tmp_path / "traces.jsonl"
    path.touch()
    path.chmod(0o644)
    Lines(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("left", [b'{"resourceSpans":[{"resource":{"attr', b'{"resourceSpans":[]}\n', b""])
def test_a_torn_line_stays_alone(tmp_path, left):
    """What a killed writer has left of a line takes no line of the next one with it."""
    path = tmp_path / "traces.jsonl"
    path.write_bytes(left)
    lines = Lines(path)
    for number in range(2):
        lines.append({"number": number})
    lines.close()
    assert path.read_text().splitlines()[-2:] == ['{"number":0}', '{"number":1}']
    assert path.read_bytes().startswith(left)


def test_a_line_after_a_torn_write_stands_alone(tmp_path, monkeypatch):
    """What the disk took in part is no part of the next line."""
    lines, whole = Lines(tmp_path / "traces.jsonl"), os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, line: whole(descriptor, line[:5]))
        with pytest.raises(OSError, match="no room"):
            lines.append({"lost": 1})
    lines.append({"kept": 1})
    lines.close()
    assert (tmp_path / "traces.jsonl").read_text().splitlines() == ['{"los', '{"kept":1}']


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="an open file can be removed on POSIX only")
@pytest.mark.parametrize(
    "remove", [lambda path: shutil.rmtree(path.parent), lambda path: path.rename(f"{path}.1")]
)
def test_a_file_that_was_removed_or_moved_is_made_anew(tmp_path, remove):
    """Nothing goes to a file that nobody finds, and the file is as private as the first."""
    path = tmp_path / "out" / "traces.jsonl"
    lines = Lines(path)
    lines.append({"number": 0})
    remove(path)
    lines.append({"number": 1})
    lines.close()
    assert path.read_text() == '{"number":1}\n'
    assert (stat.S_IMODE(path.parent.stat().st_mode), stat.S_IMODE(path.stat().st_mode)) == (0o700, 0o600)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="an open file can be removed on POSIX only")
def test_a_folder_that_cannot_be_made_anew_fails_each_time(tmp_path):
    """Each line is refused until there may be a folder again."""
    path = tmp_path / "out" / "traces.jsonl"
    lines = Lines(path)
    shutil.rmtree(path.parent)
    path.parent.write_text("in the way")
    for _ in range(2):
        with pytest.raises(OSError, match="out"):
            lines.append({"number": 0})
    path.parent.unlink()
    lines.append({"number": 1})
    lines.close()
    assert path.read_text() == '{"number":1}\n'


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX descriptors")
def test_a_descriptor_that_is_another_files_is_left_alone(tmp_path):
    """A program may close all it has, as daemons do, and open files of its own."""
    lines, path = Lines(tmp_path / "traces.jsonl"), tmp_path / "theirs"
    number = lines._file.descriptor
    os.close(number)
    with path.open("w") as theirs:
        assert theirs.fileno() == number
        for each in range(2):
            lines.append({"number": each})
        lines.close()
        theirs.write("theirs")
    assert path.read_text() == "theirs"
    assert (tmp_path / "traces.jsonl").read_text() == '{"number":0}\n{"number":1}\n'


INHERITING = """
import os, sys
import codoperf_otel

@codoperf_otel.monitor_performance
def function():
    pass

def opened():
    links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
    return sum(os.readlink(link).startswith(sys.argv[1]) for link in links if os.path.islink(link))

with codoperf_otel.configure(file=sys.argv[1], logs=True) as handle:
    function()
    handle.force_flush()
    print(opened(), flush=True)
    if (pid := os.fork()) == 0:
        print(opened(), flush=True)
        sys.exit()
    os.waitpid(pid, 0)
"""


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux's /proc")
def test_a_forked_child_keeps_no_file_of_its_parents(tmp_path):
    """It opens its own at its first export: a removed file's room is free once its process has ended."""
    command = [sys.executable, "-W", "ignore", "-c", INHERITING, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.stdout.split(), done.stderr) == (["3", "0"], "")
