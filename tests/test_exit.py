"""The end of a program: what is left is sent, in bounded time, and errors are one line an endpoint."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler

import grpc
import pytest
from endpoints import serve_requests
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from codoperf_otel.sdk.errors import Destination

PROTOCOLS = ("grpc", "http/protobuf")

START = """
import os, signal, sys, threading, time
import codoperf_otel

@codoperf_otel.monitor_performance("work")
def work():
    pass

def done():
    print(time.time(), flush=True)
"""


def environ(**variables):
    """This environment without OpenTelemetry's variables, but for these."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("OTEL_")},
        **variables,
    }


class Ended:
    """A program that has ended: the seconds its end took, from its call of `done` on."""

    def __init__(self, program, *args, **variables):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", START + program, *map(str, args)],
            env=environ(**variables),
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.returncode = done.returncode
        *self.printed, ended_work = done.stdout.splitlines()
        self.seconds = time.time() - float(ended_work)
        self.errors = done.stderr.splitlines()


def span_count(folder):
    """The spans in a folder."""
    lines = (folder / "traces.jsonl").read_text().splitlines()
    groups = [group for line in lines for group in json.loads(line)["resourceSpans"]]
    return sum(len(scope["spans"]) for group in groups for scope in group["scopeSpans"])


@pytest.fixture(params=PROTOCOLS)
def protocol(request):
    """Each test over both."""
    return request.param


@pytest.fixture
def refused():
    """An address on loopback where nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


class Receiver:
    """What an endpoint does with a request: it waits, notes the signal, and answers."""

    def __init__(self, seconds=0.0, status=200):
        self.seconds = seconds
        self.status = status
        self.released = threading.Event()
        self.taken = []

    def take(self, signal_name):
        self.released.wait(self.seconds)
        self.taken.append(signal_name)


def serve_http(receiver):
    """An OTLP/HTTP endpoint, and what stops it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            receiver.take(self.path.rpartition("/")[2])
            try:
                self.send_response(receiver.status)
                self.end_headers()
            except OSError:
                pass

        def log_message(self, *_):
            pass

    return serve_requests(Handler)


def serve_grpc(receiver):
    """An OTLP/gRPC endpoint, and what stops it."""

    class Traces(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request, context):  # noqa: N802
            receiver.take("traces")
            return trace_service_pb2.ExportTraceServiceResponse()

    class Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
        def Export(self, request, context):  # noqa: N802
            receiver.take("metrics")
            return metrics_service_pb2.ExportMetricsServiceResponse()

    server = grpc.server(ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Traces(), server)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Metrics(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return port, lambda: server.stop(None).wait()


@pytest.fixture
def serve(protocol):
    """Starts an endpoint that a receiver answers for."""
    stops = []

    def start(receiver):
        port, stop = (serve_grpc if protocol == "grpc" else serve_http)(receiver)
        stops.append((receiver, stop))
        return f"http://127.0.0.1:{port}"

    yield start
    for receiver, stop in stops:
        receiver.released.set()
        stop()


def test_a_reason_that_is_cut_says_so(caplog):
    """What an exporter logs at length ends in an ellipsis, not in the midst of a word."""
    Destination("http://collector").trouble("refused " * 50)
    (line,) = caplog.messages
    assert line.startswith("Telemetry does not reach http://collector: refused refused ")
    assert line.endswith("… (more such errors are not logged)")


@pytest.mark.parametrize("calls", [1, 1500], ids=["one batch", "batches"])
def test_refused_endpoint_is_one_line_and_ends_soon(tmp_path, protocol, refused, calls):
    """The program ends well and soon, the files are written, and the one line names the endpoint."""
    ended = Ended(
        "codoperf_otel.configure(endpoint=sys.argv[1], file=sys.argv[2])\n"
        "for _ in range(int(sys.argv[3])): work()\ndone()",
        refused,
        tmp_path,
        calls,
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
    )
    assert ended.returncode == 0
    assert ended.seconds <= 4  # and not 5, the `shutdown_timeout`
    (line,) = ended.errors
    assert line.startswith(f"Telemetry does not reach {refused}: ")
    assert "connection refused: no collector listens there" in line or "UNAVAILABLE" in line
    assert span_count(tmp_path) == calls


@pytest.mark.parametrize(
    ("server", "speaks", "scheme", "advice"),
    [
        (serve_http, "grpc", "http", "this port speaks HTTP: set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"),
        (serve_grpc, "http/protobuf", "http", "this port speaks gRPC: set OTEL_EXPORTER_OTLP_PROTOCOL=grpc"),
        (serve_http, "grpc", "https", "this port does not speak TLS: the endpoint must begin with http://"),
        (
            serve_grpc,
            "http/protobuf",
            "https",
            "this port does not speak TLS: the endpoint must begin with http://",
        ),
    ],
)
def test_a_port_of_another_protocol_is_one_line_that_says_what_to_set(server, speaks, scheme, advice):
    """The port itself is asked what it speaks, as not every exporter says why it fails."""
    port, stop = server(Receiver())
    try:
        ended = Ended(
            "codoperf_otel.configure(endpoint=sys.argv[1]); work(); done()",
            f"{scheme}://127.0.0.1:{port}",
            OTEL_EXPORTER_OTLP_PROTOCOL=speaks,
        )
    finally:
        stop()
    lines = [line for line in ended.errors if "ssl_transport_security" not in line]  # gRPC's own
    assert lines == [
        f"Telemetry does not reach {scheme}://127.0.0.1:{port}: {advice} (more such errors are not logged)"
    ]


def test_two_refused_endpoints_are_two_lines(protocol, refused):
    """Each endpoint has its one line."""
    ended = Ended(
        "codoperf_otel.configure(); work(); done()",
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=refused,
        OTEL_EXPORTER_OTLP_METRICS_ENDPOINT="http://127.0.0.1:1",
    )
    assert ended.seconds <= 4  # and not 5, the `shutdown_timeout`
    reached = sorted(re.findall(r"does not reach (\S+): ", "\n".join(ended.errors)))
    assert reached == sorted([refused, "http://127.0.0.1:1"])
    assert len(ended.errors) == 2


def test_endpoint_that_was_failing_before_the_end(protocol, refused):
    """A retry that waits longer than a second is cut short."""
    ended = Ended(
        "h = codoperf_otel.configure(endpoint=sys.argv[1], metric_export_interval=0.1); work()\n"
        "thread = threading.Thread(target=h.force_flush, daemon=True); thread.start(); time.sleep(2)\n"
        "work(); done()",
        refused,
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
    )
    assert ended.seconds <= 4  # and not 5, the `shutdown_timeout`
    assert len(ended.errors) == 1


def test_slow_endpoint_gets_its_time(protocol, serve):
    """An endpoint that takes more than a second to answer is waited for."""
    receiver = Receiver(seconds=4)
    ended = Ended(
        "codoperf_otel.configure(endpoint=sys.argv[1], shutdown_timeout=30); work(); done()",
        serve(receiver),
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
    )
    assert sorted(receiver.taken) == ["metrics", "traces"]
    assert ended.errors == []
    assert 4 <= ended.seconds < 8  # side by side, not one after the other


def test_endpoint_that_does_not_answer_is_left(tmp_path, protocol, serve):
    """After shutdown_timeout the program ends, with one line; files do not wait for it."""
    ended = Ended(
        "codoperf_otel.configure(endpoint=sys.argv[1], file=sys.argv[2], shutdown_timeout=0.5)\n"
        "work(); done()",
        serve(Receiver(seconds=30)),
        tmp_path,
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
    )
    assert ended.returncode == 0
    assert ended.seconds < 8  # and not 10, which the exporters would wait for
    (line,) = ended.errors
    assert "no answer within the 0.5 s" in line
    assert span_count(tmp_path) == 1


@pytest.mark.parametrize("protocol", ["grpc"], indirect=True)
def test_shutdown_ends_the_call_that_it_gave_up(serve):
    """After shutdown_timeout, a call over gRPC is cancelled, and no thread of the SDK is left."""
    ended = Ended(
        "h = codoperf_otel.configure(endpoint=sys.argv[1], shutdown_timeout=0.5); work(); h.shutdown()\n"
        "deadline = time.time() + 10\n"
        "while threading.active_count() > 1 and time.time() < deadline: time.sleep(0.01)\n"
        "print(threading.active_count()); done()",
        serve(Receiver(seconds=30)),
        OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
        OTEL_EXPORTER_OTLP_TIMEOUT="60",
    )
    assert ended.printed == ["1"]


@pytest.mark.parametrize("protocol", ["http/protobuf"], indirect=True)
def test_refusals_are_counted(serve):
    """Each export that is not taken counts, and makes `force_flush` False; the first alone is logged."""
    ended = Ended(
        "h = codoperf_otel.configure(endpoint=sys.argv[1])\n"
        "for _ in range(3):\n    work(); print(h.force_flush())\n"
        "print(h.failures[sys.argv[1]]); done()",
        serve(Receiver(status=400)),
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
    )
    assert ended.printed == ["False", "False", "False", "6"]
    assert len(ended.errors) == 1


def test_records_of_other_exporters_are_left_alone(protocol, refused):
    """The filter takes what this package's exporters log, not what a user's own exporter does."""
    kind = "grpc" if protocol == "grpc" else "http"
    ended = Ended(
        f"from opentelemetry.exporter.otlp.proto.{kind}.trace_exporter import OTLPSpanExporter\n"
        "from opentelemetry.sdk.trace import TracerProvider\n"
        "from opentelemetry.sdk.trace.export import SimpleSpanProcessor\n"
        "codoperf_otel.configure(endpoint=sys.argv[1]); work(); codoperf_otel.shutdown()\n"
        "mine = TracerProvider(shutdown_on_exit=False)\n"
        "mine.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=sys.argv[1], timeout=0.5)))\n"
        "mine.get_tracer('mine').start_span('s').end(); done()",
        refused,
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
    )
    assert len([line for line in ended.errors if line.startswith("Telemetry does not reach")]) == 1
    assert len(ended.errors) > 1


def test_shutdown_is_done_once(tmp_path):
    """A second shutdown, that of the handle's block and that of the end do nothing more."""
    ended = Ended(
        "with codoperf_otel.configure(file=sys.argv[1]) as h: work(); h.shutdown()\n"
        "h.shutdown(); codoperf_otel.shutdown(); done()",
        tmp_path,
    )
    assert ended.errors == []
    assert ended.seconds <= 4
    assert span_count(tmp_path) == 1


def test_exit_handlers_registered_later_are_measured(tmp_path):
    """What a program does in its own exit handlers is still sent."""
    Ended("import atexit; codoperf_otel.configure(file=sys.argv[1]); atexit.register(work); done()", tmp_path)
    assert span_count(tmp_path) == 1


def test_processors_added_to_our_provider_are_shut_down(tmp_path):
    """A span processor that the program adds itself is flushed, too."""
    program = """
from opentelemetry import trace
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
codoperf_otel.configure(file=sys.argv[1])
done()
exporter = ConsoleSpanExporter(formatter=lambda span: "0\\n" if span.name == "work" else "")
trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(exporter))
work()
"""
    assert len(Ended(program, tmp_path).printed) == 1


def interrupted(tmp_path, number):
    """A program that waits, ended by a signal."""
    waits = "for _ in range(600): time.sleep(0.1)"  # a signal just before a sleep is handled after it
    program = f"codoperf_otel.configure(file=sys.argv[1]); work(); print('waits', flush=True)\n{waits}"
    process = subprocess.Popen(
        [sys.executable, "-c", START + program, tmp_path],
        env=environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "waits\n"
    process.send_signal(number)
    process.communicate(timeout=60)
    return process.returncode


def test_keyboard_interrupt_flushes(tmp_path):
    """After Ctrl-C the spans are in the file."""
    assert interrupted(tmp_path, signal.SIGINT) == -signal.SIGINT
    assert span_count(tmp_path) == 1


def test_no_thread_but_the_sdks(tmp_path):
    """Where the interpreter can start threads at its end, none of ours waits for it."""
    ended = Ended(
        "codoperf_otel.configure(file=sys.argv[1]); work()\n"
        "print(sorted(thread.name for thread in threading.enumerate())); done()",
        tmp_path,
    )
    expected = ["MainThread", "OtelBatchSpanRecordProcessor", "OtelPeriodicExportingMetricReader"]
    if sys.version_info[:2] == (3, 12):
        expected += ["codoperf-flush"] * 2
    assert ended.printed == [str(expected)]
