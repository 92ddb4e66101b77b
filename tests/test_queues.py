"""What is recorded faster than exporters take it: files lose nothing, endpoints count what they lose."""

from __future__ import annotations

import gzip
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler

import pytest
from endpoints import serve_requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from codoperf_otel.sdk import losses, queues
from codoperf_otel.sdk.errors import Destination
from codoperf_otel.sdk.losses import Tally
from codoperf_otel.sdk.outputs import Console, Otlp
from codoperf_otel.sdk.queues import Queue


def run(program, *arguments, **environ):
    """Run a program with these variables; its standard output and error."""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=1800,
        env={**os.environ, **environ},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def names_in(folder):
    """How often each span is in the file of a folder."""
    found = {}
    for line in (folder / "traces.jsonl").read_text().splitlines():
        for group in json.loads(line)["resourceSpans"]:
            for scope in group["scopeSpans"]:
                for span in scope["spans"]:
                    found[span["name"]] = found.get(span["name"], 0) + 1
    return found


MANY = """
import sys, threading, codoperf_otel
from codoperf_otel import monitor_performance
calls, threads = int(sys.argv[2]), int(sys.argv[3])
handle = codoperf_otel.configure(file=sys.argv[1])

@monitor_performance("call")
def call():
    pass

def work():
    for _ in range(calls // threads):
        call()

started = [threading.Thread(target=work) for _ in range(threads)]
for thread in started: thread.start()
for thread in started: thread.join()
print(handle.force_flush(60))
"""


@pytest.mark.parametrize("threads", [1, 8])
def test_a_file_has_every_span(tmp_path, scale, threads):
    """Whoever calls faster than the file is written waits for it."""
    calls = scale(1_000_000) // threads * threads
    out, _ = run(MANY, tmp_path, calls, threads, OTEL_BSP_MAX_QUEUE_SIZE="600")
    assert out == "True\n"
    assert names_in(tmp_path) == {"call": calls}


LOGGING = """
import logging, sys, codoperf_otel
handle = codoperf_otel.configure(file=sys.argv[1], logs=True)
for number in range(5_000):
    logging.getLogger("shop").warning("%d", number)
"""


def test_a_file_has_every_log_record(tmp_path):
    """The queue of log records is one of the same kind."""
    run(LOGGING, tmp_path)
    lines = (tmp_path / "logs.jsonl").read_text().splitlines()
    bodies = [
        int(record["body"]["stringValue"])
        for line in lines
        for group in json.loads(line)["resourceLogs"]
        for scope in group["scopeLogs"]
        for record in scope["logRecords"]
    ]
    assert sorted(bodies) == list(range(5_000))


class Slow(BaseHTTPRequestHandler):
    """Takes its time for each request, and counts the spans."""

    spans = 0

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if self.path == "/v1/traces":
            time.sleep(0.05)  # it is what the queue overflows by
            groups = ExportTraceServiceRequest.FromString(body).resource_spans
            type(self).spans += sum(len(scope.spans) for group in groups for scope in group.scope_spans)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        """Nothing is said."""


@pytest.fixture
def slow():
    """A slow endpoint: its address, and its class."""
    handler = type("Handler", (Slow,), {})
    port, stop = serve_requests(handler)
    yield f"http://127.0.0.1:{port}", handler
    stop()


DROPPING = """
import logging, sys, codoperf_otel
from codoperf_otel import monitor_performance
logging.basicConfig()
handle = codoperf_otel.configure(endpoint=sys.argv[1], file=sys.argv[2], shutdown_timeout=60)

@monitor_performance("call")
def call():
    pass

for _ in range(int(sys.argv[3])):
    call()
print(handle.force_flush(60), handle.force_flush(60))
"""


def dropped_in(folder):
    """The spans of a folder's file that the metric says were dropped."""
    *_, last = (folder / "metrics.jsonl").read_text().splitlines()
    return [
        (point["asInt"], {a["key"]: a["value"]["stringValue"] for a in point["attributes"]})
        for group in json.loads(last)["resourceMetrics"]
        for scope in group["scopeMetrics"]
        for metric in scope["metrics"]
        if metric["name"] == "codoperf.telemetry.dropped"
        for point in metric["sum"]["dataPoints"]
    ]


def test_what_an_endpoint_does_not_take_is_counted(tmp_path, slow, scale):
    """Sent and dropped are all; the file beside it has all, and the metric, a line and the flush say so."""
    address, handler = slow
    calls = scale(200_000)
    protocol = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_BSP_MAX_QUEUE_SIZE": "512"}
    out, error = run(DROPPING, address, tmp_path, calls, **protocol)
    assert out == "False True\n"
    assert names_in(tmp_path) == {"call": calls}
    ((dropped, attributes),) = dropped_in(tmp_path)
    assert attributes == {"codoperf.signal": "traces", "codoperf.drop.reason": "queue_full"}
    assert handler.spans + int(dropped) == calls
    assert int(dropped) > 0
    first, *_, last = [line for line in error.splitlines() if "takes less than there is" in line]
    assert first.startswith(f"WARNING:codoperf_otel.export:{address}")
    assert f"{int(dropped):,} spans dropped so far" in last
    assert "OTEL_BSP_MAX_QUEUE_SIZE is 512" in last


def test_view_says_what_was_dropped(tmp_path, slow):
    """In the text, and in the document for programs."""
    address, _ = slow
    run(DROPPING, address, tmp_path, 5000, OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf")
    ((dropped, _),) = dropped_in(tmp_path)
    command = [sys.executable, "-m", "codoperf_otel.cli", "view", tmp_path]
    text = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert f"Not delivered everywhere: {int(dropped):,} of traces (queue full)" in text
    found = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=60, check=True)
    document = json.loads(found.stdout)
    assert document["dropped"] == [{"signal": "traces", "reason": "queue_full", "items": int(dropped)}]


def test_a_failed_export_counts_its_items(tmp_path):
    """Spans and points are counted, and the flush says so once."""
    program = (
        "import resource, sys, codoperf_otel\n"
        "from codoperf_otel.sdk import losses\n"
        "handle = codoperf_otel.configure(file=sys.argv[1])\n"
        "limit = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1, limit[1]))\n"
        "for _ in range(3):\n    with codoperf_otel.performance_context('x'): pass\n"
        "print(handle.force_flush())\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, limit)\n"
        "with codoperf_otel.performance_context('after'): pass\n"
        "print(handle.force_flush())\n"
        "print([(o.value, *o.attributes.values()) for o in losses.observations()])\n"
    )
    out, _ = run(program, tmp_path, OTEL_METRICS_EXPORTER="none", OTEL_TRACES_EXPORTER="none")
    first, second, counts = out.splitlines()
    assert (first, second) == ("False", "True")
    (metrics, traces) = sorted(eval(counts), key=lambda count: count[1])
    assert traces == (3, "traces", "export_failed")
    assert metrics[0] > 3
    assert metrics[1:] == ("metrics", "export_failed")
    *_, last = (tmp_path / "traces.jsonl").read_text().splitlines()
    assert "after" in last


LEFT = """
import logging, sys, time, codoperf_otel
from codoperf_otel.sdk import losses
logging.basicConfig()
handle = codoperf_otel.configure(endpoint=sys.argv[1], shutdown_timeout=0.3)
for _ in range(100):
    with codoperf_otel.performance_context("work"): pass
handle.shutdown()
print([(o.value, *o.attributes.values()) for o in losses.observations()])
print(input())
time.sleep(0.5)
with codoperf_otel.performance_context("late"): pass
print([(o.value, *o.attributes.values()) for o in losses.observations()])
"""


def test_what_is_left_at_the_end_is_counted():
    """An endpoint that does not answer has a batch on its way; the others are lost, and one line says so."""
    released, arrived = threading.Event(), []

    class Hanging(Slow):
        def do_POST(self):
            arrived.append(self.path)
            released.wait(60)
            super().do_POST()

    port, stop = serve_requests(Hanging)
    address = f"http://127.0.0.1:{port}"
    variables = {
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "10",
    }
    program = subprocess.Popen(
        [sys.executable, "-c", LEFT, address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables},
    )
    counts = program.stdout.readline()
    released.set()
    rest, errors = program.communicate("go\n", timeout=60)
    stop()
    assert counts == "[(90, 'traces', 'export_failed')]\n"
    assert rest == f"go\n{counts}"
    assert Hanging.spans == 10
    assert arrived == ["/v1/traces"]
    assert f"WARNING:codoperf_otel.export:{address}: 90 spans were left at the end\n" in errors


FORKING = """
import os, sys, codoperf_otel
handle = codoperf_otel.configure(file=sys.argv[1])
for _ in range(100):
    with codoperf_otel.performance_context("parent"): pass
if os.fork() == 0:
    for _ in range(700):
        with codoperf_otel.performance_context("child"): pass
    handle.shutdown()
    os._exit(0)
print(os.wait()[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_has_an_empty_queue(tmp_path):
    """Counts of the parent's do not make it wait, and its spans are all there."""
    out, _ = run(FORKING, tmp_path, OTEL_BSP_MAX_QUEUE_SIZE="110", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="50")
    assert out == "0\n"
    assert names_in(tmp_path) == {"parent": 100, "child": 700}


OTLP = Otlp("traces", "grpc", "http://collector", "none", "http://collector", True)


@pytest.fixture
def small(monkeypatch):
    """Queues hold two."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "2")
    losses.begin_anew()
    yield
    losses.begin_anew()


def filled(output):
    """A queue that holds as much as it may."""
    queue = Queue(output, Destination(output.label))
    for _ in range(2):
        assert queue.has_room()
        next(queue.free)
    assert queue.is_full
    return queue


def test_an_endpoint_lets_nobody_wait(small, caplog):
    """What does not fit is counted, and one line a minute says how much it was."""
    queue = filled(OTLP)
    with caplog.at_level(logging.WARNING):
        assert not any(queue.has_room() for _ in range(3))
    queue.take(1)
    assert queue.has_room()
    assert [observation.value for observation in losses.observations()] == [3]
    assert [record.getMessage().split(",")[0] for record in caplog.records] == [
        "http://collector takes less than there is: 1 spans dropped so far"
    ]


def test_who_waits_goes_on_when_some_is_taken(small):
    """No polling is needed for it."""
    queue = filled(Console("traces"))
    waiting = threading.Thread(target=queue.has_room)
    waiting.start()
    queue.take(2)
    waiting.join(60)
    assert not waiting.is_alive()
    assert list(losses.observations()) == []


def test_the_thread_that_exports_does_not_wait_for_itself(small, monkeypatch):
    """A finalizer may end a span in the midst of an export."""
    monkeypatch.setattr(queues, "_NUDGE", 1000)
    queue = Queue(Console("traces"), Destination("the console"))
    queue.take(0)
    for _ in range(10):
        assert queue.has_room()
        next(queue.free)


def test_an_exporter_that_hangs_is_not_waited_for_for_ever(small, monkeypatch):
    """Then it is dropped and counted, as at an endpoint."""
    monkeypatch.setattr(queues, "_NUDGE", 0.01)
    monkeypatch.setattr(queues, "_LONGEST_WAIT", 0.02)
    queue = filled(Console("traces"))
    for _ in range(2):
        assert queue.has_room()
        next(queue.free)
    assert not queue.has_room()
    assert [observation.value for observation in losses.observations()] == [1]


def test_nobody_waits_after_the_end(small, monkeypatch):
    """What waits goes on, and what comes later is not counted as dropped."""
    monkeypatch.setattr(queues, "_NUDGE", 1000)
    queue = filled(Console("traces"))
    waiting = threading.Thread(target=queue.has_room)
    waiting.start()
    queue.end()
    waiting.join(60)
    assert not waiting.is_alive()
    queue = filled(OTLP)
    queue.end()
    assert not queue.has_room()
    assert list(losses.observations()) == []


def test_what_an_interrupt_kept_from_the_exporter_is_lost_and_counted(small):
    """It does not take room for ever."""
    queue = filled(OTLP)
    with queue.flushing():
        queue.take(1)  # of two that the SDK took out of its own queue
    assert not queue.is_full
    assert [observation.value for observation in losses.observations()] == [1]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX signals")
def test_a_time_out_reaches_who_waits(small, monkeypatch):
    """Waiting is no place where a signal handler's exception is swallowed."""
    monkeypatch.setattr(queues, "_NUDGE", 1000)
    queue = filled(Console("traces"))

    def expire(*_):
        raise TimeoutError("time is up")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(TimeoutError, match="time is up"):
            queue.has_room()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_tally_loses_nothing_under_threads():
    """Additions of one and of many are counted exactly."""
    tally = Tally()

    def work():
        for _ in range(2_000):
            tally.add()
            tally.add(3)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tally.total == 8 * 2_000 * 4
