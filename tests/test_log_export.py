"""`configure(logs=True)`: each record of the program once, under its span, whatever handlers there are."""

from __future__ import annotations

import gzip
import json
import math
import os
import re
import socket
import subprocess
import sys
import time
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler

import grpc
import pytest
from endpoints import serve_requests
from google.protobuf.json_format import MessageToDict
from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs as official_encoding
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from real_stack import eventually, post

from codoperf_otel.sdk.otlp_json.logs import encode_logs
from codoperf_otel.sdk.outputs import File, Otlp
from codoperf_otel.sdk.settings import Arguments, resolve

PROTOCOLS = ("grpc", "http/protobuf")

START = """
import logging, logging.config, os, sys, time
import codoperf_otel
log = logging.getLogger("shop.cart")
"""


def run(program, *args, code=0, **variables):
    """A program in a fresh interpreter, and how it ended."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-c", START + program, *map(str, args)],
        env={**kept, **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    return done


def documents(folder, signal, kind):
    """The spans or records in a folder, with the names of their scopes."""
    path = folder / f"{signal}.jsonl"
    return [
        (scope["scope"].get("name"), item)
        for text in (path.read_text().splitlines() if path.exists() else ())
        for group in json.loads(text)[f"resource{signal.capitalize().replace('Traces', 'Spans')}"]
        for scope in group["scopeLogs" if signal == "logs" else "scopeSpans"]
        for item in scope[kind]
    ]


def records(folder):
    """(logger, record) of each log record."""
    return documents(folder, "logs", "logRecords")


def bodies(folder):
    """The texts of the records."""
    return [record["body"]["stringValue"] for _, record in records(folder)]


def spans(folder):
    """The spans by name."""
    return {span["name"]: span for _, span in documents(folder, "traces", "spans")}


def attributes(item):
    """OTLP JSON attributes as a dict."""
    return {each["key"]: next(iter(each["value"].values()), None) for each in item.get("attributes", ())}


class Receiver:
    """The log records that an endpoint was sent."""

    def __init__(self):
        self.taken = []

    def take(self, request):
        for group in request.resource_logs:
            for scope in group.scope_logs:
                self.taken += [(scope.scope.name, record) for record in scope.log_records]

    @property
    def bodies(self):
        return [record.body.string_value for _, record in self.taken]


def serve_http(receiver):
    """An OTLP/HTTP endpoint, and what stops it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if self.path == "/v1/logs":
                receiver.take(logs_service_pb2.ExportLogsServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    return serve_requests(Handler)


def serve_grpc(receiver):
    """An OTLP/gRPC endpoint for logs, and what stops it."""

    class Logs(logs_service_pb2_grpc.LogsServiceServicer):
        def Export(self, request, context):  # noqa: N802
            receiver.take(request)
            return logs_service_pb2.ExportLogsServiceResponse()

    server = grpc.server(ThreadPoolExecutor(4))
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(Logs(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return port, lambda: server.stop(None).wait()


@pytest.fixture(params=PROTOCOLS)
def protocol(request):
    """Each test over both."""
    return request.param


@pytest.fixture
def receiver(protocol):
    """An endpoint that takes log records; `variables` sends them there, and nothing else anywhere."""
    found = Receiver()
    port, stop = (serve_grpc if protocol == "grpc" else serve_http)(found)
    found.variables = {
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "none",
    }
    yield found
    stop()


# what a record says

SAID = """
codoperf_otel.configure("shop", file=sys.argv[1], logs=True)
@codoperf_otel.monitor_performance("buy")
def buy():
    log.warning("%d left", 3, extra={"article": "tea", "sizes": [1, 2]})
    try:
        {}["key"]
    except KeyError:
        log.exception("failed")
buy()
log.error("outside")
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """The folder that a program wrote to."""
    folder = tmp_path_factory.mktemp("said")
    run(SAID, folder)
    return folder


def test_a_record_has_the_ids_of_its_span(said):
    """Trace and span are those of the call in which it was made; outside there are none."""
    span = spans(said)["buy"]
    found = {record["body"]["stringValue"]: record for _, record in records(said)}
    assert list(found) == ["3 left", "failed", "outside"]
    for body in ("3 left", "failed"):
        assert (found[body]["traceId"], found[body]["spanId"]) == (span["traceId"], span["spanId"])
    assert "traceId" not in found["outside"]
    assert "spanId" not in found["outside"]


def test_a_record_has_severity_logger_time_and_place(said):
    """After the data model; the logger's name is the scope."""
    scope, record = records(said)[0]
    assert scope == "shop.cart"
    assert (record["severityNumber"], record["severityText"]) == (13, "WARNING")
    assert abs(int(record["timeUnixNano"]) - time.time_ns()) < 60e9
    assert attributes(record) == {
        "code.file.path": "<string>",
        "code.function.name": "buy",
        "code.line.number": "9",
        "article": "tea",
        "sizes": {"values": [{"intValue": "1"}, {"intValue": "2"}]},
    }


def test_a_record_has_the_exception(said):
    """Type, message and stack trace, under the convention's names."""
    found = attributes(records(said)[1][1])
    assert found["exception.type"] == "KeyError"
    assert found["exception.message"] == "'key'"
    assert found["exception.stacktrace"].startswith("Traceback")


def test_records_are_of_the_same_service(said):
    """The resource is that of the spans."""
    resources = [
        json.loads((said / f"{signal}.jsonl").read_text().splitlines()[0])[key][0]["resource"]
        for signal, key in (("traces", "resourceSpans"), ("logs", "resourceLogs"))
    ]
    assert resources[0] == resources[1]


ODD = """
import enum
codoperf_otel.configure(logs=True)
class Level(enum.IntEnum):
    ONE = 1
class Unprintable:
    def __repr__(self): raise RuntimeError
ring = {}
ring["ring"] = ring
log.error("odd \\udcff", extra={
    "big": 2**64, "none": None, "mixed": [1, "a", None], "map": {"a": {"b": [1.5]}}, "level": Level.ONE,
    "bytes": b"x", "set": {1}, "ring": ring, "unprintable": Unprintable(), "text": "\\udcff"})
log.error("%d", "no number")
log.error("last")
"""


def test_odd_values_lose_no_record(receiver):
    """What OTLP cannot carry is its `repr`; nothing is complained of beside the program's own lines."""
    done = run(ODD, **receiver.variables)
    assert receiver.bodies == ["odd \\udcff", "'%d' ('no number',)", "last"]
    found = {item.key: item.value for item in receiver.taken[0][1].attributes}
    assert found["big"].string_value == str(2**64)
    assert found["mixed"].string_value == "[1, 'a', None]"
    assert found["map"].kvlist_value.values[0].key == "a"
    assert found["level"].int_value == 1
    assert found["set"].string_value == "{1}"
    assert found["ring"].string_value == "{'ring': {...}}"
    assert found["unprintable"].string_value == "<Unprintable>"
    assert found["text"].string_value == "\\udcff"
    assert "opentelemetry" not in done.stderr.replace("codoperf_otel", "")


SPAN = trace.SpanContext(0xA, 0xB, is_remote=False, trace_flags=trace.TraceFlags(1))


def test_a_logs_line_is_the_official_encoding():
    """Every field of a record is as OTLP has it, by resource and scope."""
    exporter = InMemoryLogRecordExporter()
    for resource in (Resource({"service.name": "a"}, "https://schema/r"), Resource({})):
        provider = LoggerProvider(resource, shutdown_on_exit=False)
        provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
        for scope in ("one", "two"):
            logger = provider.get_logger(scope, "1.2", "https://schema/s", {"of": "scope"})
            logger.emit(LogRecord(body="bare"))
            logger.emit(
                LogRecord(
                    context=trace.set_span_in_context(trace.NonRecordingSpan(SPAN)),
                    timestamp=1_000,
                    observed_timestamp=2_000,
                    severity_text="WARN",
                    severity_number=SeverityNumber.WARN,
                    body={"text": "é", "list": [1, 2], "nan": math.nan},
                    attributes={"a": 1, "none": None, "flag": False, "map": {"b": [0.5]}},
                    event_name="exception",
                )
            )
    found = exporter.get_finished_logs()
    message = MessageToDict(official_encoding(found), use_integers_for_enums=True)
    ours = json.loads(json.dumps(encode_logs(found)), object_hook=_without_nothing)
    assert ours == json.loads(json.dumps(message), object_hook=_hex_ids)


def _without_nothing(item):
    """A None is an empty value in newer encoders, and left out in older ones."""
    return {name: value for name, value in item.items() if value != {} or name not in {"value", "body"}}


def _hex_ids(item):
    found = {name: b64decode(v).hex() if name in {"traceId", "spanId"} else v for name, v in item.items()}
    return _without_nothing(found)


# which records there are

HANDLERS = {
    "none": "",
    "several": "logging.getLogger().addHandler(quiet()); logging.getLogger('shop').addHandler(quiet())",
    "basicConfig(force=True)": "logging.basicConfig(force=True)",
    "dictConfig": """logging.config.dictConfig({"version": 1, "disable_existing_loggers": False,
    "handlers": {"out": {"class": "logging.StreamHandler"}}, "root": {"handlers": ["out"]}})""",
    "no propagation": "log.propagate = False",
    "all removed": "logging.getLogger().handlers.clear()",
    "a failing one": """class Failing(logging.Handler):
    def handle(self, record): raise RuntimeError
log.addHandler(Failing())""",
}

ONCE = """
def quiet():
    return logging.NullHandler()
BEFORE
codoperf_otel.configure(file=sys.argv[1], logs=True)
AFTER
for number in range(3):
    try:
        log.warning("record %d", number)
    except RuntimeError:
        pass
logging.getLogger("other").warning("other")
logging.warning("root")
"""


@pytest.mark.parametrize("when", ["BEFORE", "AFTER"])
@pytest.mark.parametrize("handlers", HANDLERS)
def test_each_record_is_sent_once(tmp_path, handlers, when):
    """Whatever handlers the program sets up, before or after `configure`."""
    run(re.sub("BEFORE|AFTER", lambda at: HANDLERS[handlers] if at[0] == when else "", ONCE), tmp_path)
    assert sorted(bodies(tmp_path)) == ["other", "record 0", "record 1", "record 2", "root"]


PRINTED = """
if sys.argv[1:]:
    codoperf_otel.configure(file=sys.argv[1], logs=True)
log.warning("to the last resort")
log.info("too low")
logging.basicConfig(level="INFO", format="formatted %(message)s")
log.info("to the root's handler")
assert len(logging.getLogger().handlers) == 1
"""


def test_what_the_program_prints_is_unchanged(tmp_path):
    """Python's last resort and `basicConfig` work as they do without telemetry."""
    printed = run(PRINTED, tmp_path).stderr
    assert printed == run(PRINTED).stderr
    assert printed == "to the last resort\nformatted to the root's handler\n"
    assert bodies(tmp_path) == ["to the last resort", "to the root's handler"]


def test_levels_and_filters_of_loggers_hold(tmp_path):
    """A record that its logger does not make is not sent."""
    program = """
codoperf_otel.configure(file=sys.argv[1], logs=True)
log.info("below the root's level")
log.setLevel("DEBUG")
log.debug("made")
log.addFilter(lambda record: "secret" not in record.getMessage())
log.error("a secret")
logging.disable("ERROR")
log.error("disabled")
"""
    run(program, tmp_path)
    assert bodies(tmp_path) == ["made"]
    assert records(tmp_path)[0][1]["severityNumber"] == 5


def test_without_logs_none_are_sent(tmp_path):
    """The default sends spans and metrics alone, and does not load what logs need."""
    program = """
codoperf_otel.configure(file=sys.argv[1])
log.error("kept")
assert "opentelemetry.sdk._logs" not in sys.modules
assert logging.Logger.callHandlers.__module__ == "logging"
"""
    run(program, tmp_path)
    assert not (tmp_path / "logs.jsonl").exists()


def test_ids_that_a_filter_wrote_are_not_sent_twice(tmp_path):
    """They are the record's own fields; a field of the program by that name stays."""
    program = """
from codoperf_otel.logs import add_trace_context
codoperf_otel.configure(file=sys.argv[1], logs=True)
log.addFilter(add_trace_context)
with codoperf_otel.performance_context("op"):
    log.error("ours")
    log.error("theirs", extra={"trace_id": "request 7"})
"""
    run(program, tmp_path)
    ours, theirs = (attributes(record) for _, record in records(tmp_path))
    assert "trace_id" not in ours
    assert "span_id" not in ours
    assert theirs["trace_id"] == "request 7"


def test_own_records_of_the_exporters_make_no_loop(receiver):
    """With every logger at DEBUG, what sending itself logs is not sent."""
    program = """
logging.basicConfig(level="DEBUG", handlers=[logging.NullHandler()])
handle = codoperf_otel.configure(logs=True)
log.error("the only one")
for _ in range(5):
    assert handle.force_flush()
logging.getLogger("opentelemetry.sdk").error("never")
"""
    run(program, **receiver.variables)
    assert [(scope, record.body.string_value) for scope, record in receiver.taken] == [
        ("shop.cart", "the only one")
    ]


# where they go


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, [File]),
        ({"OTEL_LOGS_EXPORTER": "otlp"}, [File, Otlp]),
        ({"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://localhost:4318/v1/logs"}, [File, Otlp]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318", "OTEL_LOGS_EXPORTER": "none"}, [File]),
    ],
)
def test_variables_of_the_signal_hold(tmp_path, variables, expected):
    """Beside a file, OTLP is used where a variable asks for it."""
    outputs = resolve(Arguments(file=tmp_path, logs=True), variables).outputs
    assert [type(output) for output in outputs if output.signal == "logs"] == expected


def test_endpoint_of_the_signal_is_taken_as_it_is():
    """Base URLs get the signal's path over HTTP."""
    arguments = Arguments(logs=True)
    own = {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://a:4318/x", "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "grpc"}
    for variables, url, protocol in (
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4318"}, "http://a:4318/v1/logs", "http/protobuf"),
        (own, "http://a:4318/x", "grpc"),
    ):
        (found,) = (o for o in resolve(arguments, variables).outputs if o.signal == "logs")
        assert (found.url, found.protocol) == (url, protocol)


def test_wrong_variable_is_named():
    """Those of the batch processor, too."""
    with pytest.raises(ValueError, match="OTEL_BLRP_SCHEDULE_DELAY is 'soon'"):
        resolve(Arguments(logs=True), {"OTEL_BLRP_SCHEDULE_DELAY": "soon"})


def test_console_prints():
    """The console exporter is chosen by its variable."""
    program = "codoperf_otel.configure(logs=True); log.error('something')"
    chosen = dict.fromkeys(("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER"), "none")
    assert json.loads(run(program, OTEL_LOGS_EXPORTER="console", **chosen).stdout)["body"] == "something"


FOREIGN = """
from opentelemetry._logs import get_logger_provider, set_logger_provider
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
class Printing(LogRecordProcessor):
    def on_emit(self, log_record): print(log_record.log_record.body); BODY
    def shutdown(self): print("shut down")
    def force_flush(self, timeout_millis=0): return True
mine = LoggerProvider(shutdown_on_exit=False)
mine.add_log_record_processor(Printing())
set_logger_provider(mine)
handle = codoperf_otel.configure(file=sys.argv[1], logs=True)
log.error("something")
log.error("more")
handle.shutdown()
assert get_logger_provider() is mine
"""


def test_a_provider_that_is_there_is_used(tmp_path):
    """Its processors have the records, the file is added, and it is not shut down."""
    done = run(FOREIGN.replace("BODY", "pass"), tmp_path)
    assert done.stdout == "something\nmore\n"
    assert bodies(tmp_path) == ["something", "more"]


def test_a_processor_that_fails_is_one_warning(tmp_path):
    """The program goes on as if nothing were sent."""
    done = run(FOREIGN.replace("BODY", "raise RuntimeError('mine')"), tmp_path)
    assert done.stderr.count("a log record cannot be sent") == 1
    assert [text for text in done.stderr.splitlines() if text in {"something", "more"}] == [
        "something",
        "more",
    ]


def test_a_processor_that_logs_makes_no_loop(tmp_path):
    """What is logged while a record is handed on is printed, and not sent."""
    done = run(FOREIGN.replace("BODY", "logging.getLogger('processor').error('inner')"), tmp_path)
    assert done.stdout == "something\nmore\n"
    assert done.stderr.splitlines() == ["something", "inner", "more", "inner"]


def test_a_handler_that_colours_the_level_colours_its_own(tmp_path):
    """The severity's text is the level's name, whatever a formatter makes of it."""
    program = """
class Colouring(logging.Formatter):
    def format(self, record):
        record.levelname = f"\\033[31m{record.levelname}"
        return super().format(record)
handler = logging.StreamHandler()
handler.setFormatter(Colouring())
log.addHandler(handler)
codoperf_otel.configure(file=sys.argv[1], logs=True)
log.error("red")
"""
    run(program, tmp_path)
    assert records(tmp_path)[0][1]["severityText"] == "ERROR"


# the end, and forks


def test_after_shutdown_logging_is_as_it_was(tmp_path):
    """No record is taken any more; a later `configure` takes each once."""
    program = """
before = logging.Logger.callHandlers
handle = codoperf_otel.configure(file=sys.argv[1], logs=True)
assert logging.Logger.callHandlers is not before
log.error("one")
handle.shutdown()
assert logging.Logger.callHandlers is before
log.error("lost")
handle = codoperf_otel.configure(file=sys.argv[1], logs=True)
log.error("two")
assert handle.force_flush()
assert "two" in open(sys.argv[1] + "/logs.jsonl").read()
"""
    run(program, tmp_path)
    assert bodies(tmp_path) == ["one", "two"]


def test_someone_elses_wrapper_stays(tmp_path):
    """What another library put around a logger's handlers goes on, and nothing is doubled."""
    program = """
handle = codoperf_otel.configure(file=sys.argv[1], logs=True)
ours, seen = logging.Logger.callHandlers, []
logging.Logger.callHandlers = theirs = lambda logger, record: (seen.append(record), ours(logger, record))
log.error("one")
handle.shutdown()
assert logging.Logger.callHandlers is theirs
log.error("lost")
codoperf_otel.configure(file=sys.argv[1], logs=True)
log.error("two")
assert len(seen) == 3
"""
    run(program, tmp_path)
    assert bodies(tmp_path) == ["one", "two"]


FORKED = """
handle = codoperf_otel.configure("forks", logs=True)
log.error("parent before")
handle.force_flush()
log.error("parent unsent")
pid = os.fork()
if pid == 0:
    with codoperf_otel.performance_context("in the child"):
        log.error("child")
        logging.getLogger("new in the child").error("child again")
    sys.exit()
os.waitpid(pid, 0)
log.error("parent after")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_sends_its_own(receiver):
    """Each record arrives once, those of the child with its spans' ids."""
    run(FORKED, **receiver.variables)
    assert sorted(receiver.bodies) == [
        "child",
        "child again",
        "parent after",
        "parent before",
        "parent unsent",
    ]
    assert all(record.span_id for _, record in receiver.taken if record.body.string_value.startswith("child"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_is_a_process_of_its_own(tmp_path):
    """Its records are under its own process id."""
    program = """
codoperf_otel.configure(file=sys.argv[1], logs=True)
pid = os.fork()
log.error(str(os.getpid()))
if pid == 0:
    sys.exit()
os.waitpid(pid, 0)
"""
    run(program, tmp_path)
    groups = [
        group
        for line in (tmp_path / "logs.jsonl").read_text().splitlines()
        for group in json.loads(line)["resourceLogs"]
    ]
    assert len(groups) == 2
    for group in groups:
        (record,) = group["scopeLogs"][0]["logRecords"]
        resource = {item["key"]: item["value"] for item in group["resource"]["attributes"]}
        assert resource["process.pid"] == {"intValue": record["body"]["stringValue"]}


def test_a_multiprocessing_child_sends_its_own(tmp_path):
    """It sends what it has before it ends."""
    program = """
codoperf_otel.configure(file=sys.argv[1], logs=True)
import multiprocessing
process = multiprocessing.get_context("fork").Process(target=log.error, args=("child",))
process.start()
process.join()
"""
    run(program, tmp_path)
    assert bodies(tmp_path) == ["child"]


def test_refused_endpoint_is_one_line_and_ends_soon(protocol, tmp_path):
    """Spans, metrics and logs share the one line, which is not itself sent; the file has the records."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        refused = f"http://127.0.0.1:{bound.getsockname()[1]}"
        program = """
logging.getLogger().addHandler(logging.NullHandler())
logging.getLogger("codoperf_otel").addHandler(logging.StreamHandler())
codoperf_otel.configure(endpoint=sys.argv[1], file=sys.argv[2], logs=True, shutdown_timeout=60)
for number in range(1500):
    log.error("record %d", number)
print(time.time(), flush=True)
"""
        done = run(program, refused, tmp_path, OTEL_EXPORTER_OTLP_PROTOCOL=protocol)
    assert time.time() - float(done.stdout) < 30
    (warning,) = done.stderr.splitlines()
    assert warning.startswith(f"Telemetry does not reach {refused}: ")
    assert sorted(bodies(tmp_path)) == sorted(f"record {number}" for number in range(1500))


# exceptions as log records

FAILS = """
handle = codoperf_otel.configure(file=sys.argv[1], logs=LOGS)
@codoperf_otel.monitor_performance("fails")
def fails():
    raise KeyError("mine")
try:
    fails()
except KeyError:
    pass
"""


@pytest.mark.parametrize(
    ("value", "logs", "is_event", "is_record"),
    [
        (None, True, True, False),
        ("", True, True, False),
        ("logs", True, False, True),
        ("logs/dup", True, True, True),
        ("other, logs/dup", True, True, True),
        ("logs,logs/dup", True, True, True),
        ("other", True, True, False),
        ("logs", False, True, False),
        ("logs/dup", False, True, False),
    ],
)
def test_exception_signal(tmp_path, value, logs, is_event, is_record):
    """The variable chooses event, record or both; without a logger provider it is the event."""
    chosen = {} if value is None else {"OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN": value}
    assert not run(FAILS.replace("LOGS", str(logs)), tmp_path, **chosen).stderr
    span = spans(tmp_path)["fails"]
    assert span["status"] == {"code": 2, "message": "'mine'"}
    assert attributes(span)["error.type"] == "KeyError"
    assert [event["name"] for event in span.get("events", ())] == ["exception"] * is_event
    found = records(tmp_path)
    assert len(found) == is_record
    for scope, record in found:
        assert scope == "codoperf_otel"
        assert (record["traceId"], record["spanId"]) == (span["traceId"], span["spanId"])
        assert (record["eventName"], record["severityNumber"]) == ("exception", 17)
        said = attributes(record)
        assert said.pop("exception.stacktrace").rstrip().endswith("KeyError: 'mine'")
        assert said == {"exception.type": "KeyError", "exception.message": "'mine'"}


def test_system_readings_come_with_configure(tmp_path):
    """`system=True` reports the machine, the default does not."""
    for number, argument in enumerate(("", ", system=True")):
        folder = tmp_path / str(number)
        run(f"codoperf_otel.configure(file=sys.argv[1]{argument})", folder)
        assert ("system.memory.usage" in (folder / "metrics.jsonl").read_text()) is bool(number)


# the real Collector


COUNTED = """
codoperf_otel.configure("logging", endpoint=sys.argv[1], file=sys.argv[2], logs=True)
for number in range(700):
    with codoperf_otel.performance_context("op"):
        log.error("record %d", number, extra={"number": number, "list": [1], "map": {"a": None}})
"""


@pytest.mark.stack
def test_the_collector_takes_every_record(stack, tmp_path):
    """It counts as many as the programs logged, over either protocol, and as the lines of their file hold."""
    accepted = "sum(otelcol_receiver_accepted_log_records_total)"
    for protocol, endpoint in zip(PROTOCOLS, (stack.otlp_grpc, stack.otlp_http), strict=True):
        run(COUNTED, endpoint, tmp_path, OTEL_EXPORTER_OTLP_PROTOCOL=protocol)
    for text in (tmp_path / "logs.jsonl").read_text().splitlines():
        assert not post(f"{stack.otlp_http}/v1/logs", text.encode()).get("partialSuccess")
    assert eventually(lambda: stack.value(accepted), lambda n: n >= 2800) == 2800
