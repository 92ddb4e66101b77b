"""What is to be hidden is nowhere in what is written or sent, and nothing of it reaches the program."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from real_stack import eventually

from codoperf_otel.sdk.redact_setting import Hidden, redact_setting
from codoperf_otel.sdk.redaction import MARKER, Redaction, SeriesRedaction

SECRET = "hunter2"
KEY = "sk-4711"

# the secret wherever a program can put one: by its name, and in texts
PROGRAM = """
import logging, os, re, sys
import codoperf_otel
from opentelemetry import _logs, metrics, trace

SECRET, KEY = "hunter2", "sk-4711"

codoperf_otel.configure(
    "redacted", redact=["*password", re.compile(r"sk-\\w+")], logs=True, **eval(sys.argv[1])
)

@codoperf_otel.monitor_performance(capture=("password", "prompt"))
def ours(password, prompt):
    codoperf_otel.current_operation().set("db.password", SECRET)
    raise ValueError(f"refused: {prompt}")

def work():
    try:
        ours(SECRET, KEY)
    except ValueError:
        more = {"my_password": SECRET, "nested": {"PASSWORD": SECRET}}
        logging.exception("failed with %s", KEY, extra=more)
    tracer = trace.get_tracer("library", attributes={"scope.password": SECRET, "scope.text": KEY})
    with tracer.start_as_current_span("theirs") as span:
        span.set_attributes({"x.Password": [SECRET], KEY: 1, "b": f"-{KEY}"})
        span.add_event("event", {"password": SECRET, "text": KEY})
        span.record_exception(ValueError(KEY))
        span.set_status(trace.StatusCode.ERROR, KEY)
        trace.get_tracer("other").start_span(
            "linked", links=[trace.Link(span.get_span_context(), {"password": SECRET, "text": KEY})]
        ).end()
    counter = metrics.get_meter("library").create_counter("counted")
    counter.add(1, {"password": SECRET, "text": KEY})
    counter.add(1, {"password": SECRET + "0", "text": KEY})

with trace.get_tracer("library").start_as_current_span("root") as root:
    work()
if hasattr(os, "fork"):
    if os.fork() == 0:
        work()
        sys.exit()
    os.wait()
codoperf_otel.shutdown()
print(format(root.get_span_context().trace_id, "032x"))
"""


def run(arguments, tmp_path, **variables):
    """What the program printed, and what it wrote on errors."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "CODOPERF_"))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, repr(arguments)],
        env={
            **kept,
            "OTEL_RESOURCE_ATTRIBUTES": f"deployment.password={SECRET},deployment.text={KEY}",
            **variables,
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


def written(folder):
    """All bytes of the files in a folder."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def is_clean(text):
    """Whether neither secret is in it."""
    return SECRET not in text and KEY not in text


@pytest.mark.parametrize("lean", ["true", "false"])
def test_no_secret_is_in_a_file(tmp_path, lean):
    """In spans of ours and of others, events, links, logs, metrics and resources, of the child as well."""
    run({"file": "out"}, tmp_path, CODOPERF_OTEL_LEAN_SPANS=lean, CODOPERF_OTEL_LEAN_METRICS=lean)
    text = written(tmp_path / "out").decode()
    assert is_clean(text)
    spans = [
        span
        for line in (tmp_path / "out/traces.jsonl").read_text().splitlines()
        for group in json.loads(line)["resourceSpans"]
        for scope in group["scopeSpans"]
        for span in scope["spans"]
    ]
    assert len([span for span in spans if span["name"] == "linked"]) == (2 if hasattr(os, "fork") else 1)
    theirs = next(span for span in spans if span["name"] == "theirs")
    assert {each["key"]: each["value"] for each in theirs["attributes"]}["b"] == {"stringValue": f"-{MARKER}"}
    assert theirs["status"]["message"] == MARKER
    for file in ("traces", "metrics", "logs"):
        assert MARKER[:-1] in (tmp_path / f"out/{file}.jsonl").read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no spool on Windows")
@pytest.mark.parametrize("durable", [True, "strict"])
def test_no_secret_is_in_the_spool(tmp_path, durable):
    """What waits on disk for an endpoint is redacted."""
    folder = tmp_path / "spool"
    endpoint = "http://127.0.0.1:9/"
    run(
        {"endpoint": endpoint, "durable": durable},
        tmp_path,
        CODOPERF_OTEL_SPOOL_DIR=str(folder),
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
    )
    found = written(folder)
    assert b"theirs" in found
    assert MARKER.encode() in found
    assert is_clean(found.decode("latin-1"))


def test_no_secret_is_printed(tmp_path):
    """The console shows what is sent, not what the SDK's own objects hold."""
    variables = {f"OTEL_{signal}_EXPORTER": "console" for signal in ("TRACES", "METRICS", "LOGS")}
    shown = run({}, tmp_path, **variables)
    assert "theirs" in shown
    assert MARKER in shown
    assert is_clean(shown)


@pytest.mark.stack
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_no_secret_reaches_the_backends(tmp_path, stack, protocol):
    """Jaeger has the spans and Prometheus the series, with the marker in them."""
    endpoint = stack.otlp_grpc if protocol == "grpc" else stack.otlp_http
    output = run({"endpoint": endpoint}, tmp_path, OTEL_EXPORTER_OTLP_PROTOCOL=protocol)
    trace_id = output.split()[-1]
    spans = eventually(lambda: stack.trace(trace_id), lambda spans: len(spans) == 4)
    series = eventually(lambda: stack.query("counted_total"), lambda series: len(series) >= 2)
    for found in (json.dumps(spans), json.dumps(series)):
        assert MARKER[:-1] in found
        assert is_clean(found)


def redaction(*hidden):
    """A redaction of these patterns."""
    return Redaction(redact_setting(list(hidden)))


def test_names_match_in_any_case_and_at_every_depth():
    """Wildcards are those of file names; the value's kind does not matter."""
    attributes = {
        "Authorization": 1,
        "http.request.header.authorization": ["a"],
        "user": {"password": "x", "list": [{"password": "y"}]},
        "rows": 3,
    }
    assert redaction("*authorization", "pass*").attributes(attributes) == {
        "Authorization": MARKER,
        "http.request.header.authorization": MARKER,
        "user": {"password": MARKER, "list": ({"password": MARKER},)},
        "rows": 3,
    }


def test_what_has_nothing_to_hide_stays_the_same_object():
    """Nothing is copied that need not be."""
    attributes = {"rows": 3, "name": "tea", "list": ("a", "b")}
    assert redaction("password", re.compile("sk-")).attributes(attributes) is attributes


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a sk-1, b sk-2", f"a {MARKER}, b {MARKER}"),
        (b"\xff sk-1", b"\xff " + MARKER.encode()),
        (["sk-1", 2], (MARKER, 2)),
        ({"sk-1": None}, {MARKER: None}),
        ("\ud83d sk-1", f"\\ud83d {MARKER}"),
        ("x" * 999_999 + "sk-1", "x" * 999_999 + "…"),
        (object(), MARKER),
        ({"sk-1"}, MARKER),
        (1.5, 1.5),
        (2**64, str(2**64)),
    ],
)
def test_texts_are_searched(value, shown):
    """In texts, bytes, lists and maps; what is of no known kind is hidden whole, and the rest is sendable."""
    assert redaction(re.compile(r"sk-\d+")).value(value) == shown


def test_what_cannot_be_redacted_is_left_out(caplog):
    """A map that fails costs its values, not the export, and is one warning, which does not show it."""

    class Failing(dict):
        def items(self):
            raise ValueError(SECRET)

    hidden = redaction("password")
    assert hidden.attributes({"user": Failing(a=SECRET), "rows": 3}) == {"user": {}, "rows": 3}
    assert hidden.attributes(Failing(a=SECRET)) == {}
    assert len(caplog.messages) == 1
    assert SECRET not in caplog.text


def test_a_message_is_hidden_wherever_it_is_repeated():
    """The description of a span's status goes with the message of the exception."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with (
        pytest.raises(ValueError, match=SECRET),
        provider.get_tracer("test").start_as_current_span("failing"),
    ):
        raise ValueError(SECRET)
    (span,) = redaction("exception.*").spans(exporter.get_finished_spans())
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == MARKER
    assert set(span.events[0].attributes.values()) == {MARKER}


def test_series_of_metrics_stay_apart():
    """Each hidden value has a marker of its own, the same at each export; exemplars are redacted as well."""
    reader = InMemoryMetricReader()
    provider = MeterProvider(
        [reader],
        resource=Resource({"password": SECRET}),
        views=[View(instrument_name="*", attribute_keys={"user"})],
    )
    counter = provider.get_meter("test").create_counter("rows")
    with TracerProvider(shutdown_on_exit=False).get_tracer("test").start_as_current_span("sampled"):
        for user in ("ann@example.org", "bob@example.org"):
            counter.add(1, {"user": user, "password": SECRET})
    hidden = SeriesRedaction(Hidden(("password",), (re.compile(r"\w+@"),)))
    first, second = (hidden.metrics(reader.get_metrics_data()) for _ in range(2))
    provider.shutdown()
    points = [
        data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points for data in (first, second)
    ]
    shown = [{point.attributes["user"] for point in each} for each in points]
    assert shown[0] == shown[1]
    assert len(shown[0]) == 2
    assert all(re.fullmatch(r"\[redacted [0-9a-f]{12}\]example.org", user) for user in shown[0])
    assert SECRET not in str(first)


@pytest.mark.parametrize(
    "given",
    [
        3,
        {"password"},
        ["password", 3],
        [re.compile(b"password")],
        [re.compile("x*")],
        [r"sk-\w+"],
        [".*password.*"],
        ["(?i)token"],
        "a|b",
        re.compile("secret"),
    ],
)
def test_a_wrong_pattern_is_one_error(given):
    """It names the setting, its value and what is allowed; a regular expression as a text hides nothing."""
    with pytest.raises(ValueError, match=r"redact is .+: it must be .*names of attributes such as"):
        redact_setting(given)


def test_the_variable_adds_names(monkeypatch):
    """Neither shows what the other hides."""
    monkeypatch.setenv("CODOPERF_OTEL_REDACT", "*token*, enduser.id")
    pattern = re.compile("sk-")
    assert redact_setting(["password", pattern]) == Hidden(("*token*", "enduser.id", "password"), (pattern,))
    monkeypatch.setenv("CODOPERF_OTEL_REDACT", "tok[en")
    assert redact_setting(None) == Hidden(("tok[en",), ())
    monkeypatch.setenv("CODOPERF_OTEL_REDACT", "to(k|c)en")
    with pytest.raises(ValueError, match=r"CODOPERF_OTEL_REDACT is 'to\(k\|c\)en': it must be names"):
        redact_setting("password")
    monkeypatch.delenv("CODOPERF_OTEL_REDACT")
    assert redact_setting(None) is None
    assert redact_setting([]) is None


def test_providers_that_are_there_already_are_named(tmp_path):
    """Their exporters are not ours: one warning says so."""
    program = """
import codoperf_otel
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

trace.set_tracer_provider(TracerProvider())
codoperf_otel.configure(file="out", redact="password")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert "its own exporters hide nothing of redact=" in done.stderr
