"""Forked children report their own counts and spans; nothing is doubled, and the parent goes on."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

START = """
import os, sys, time
import codoperf_otel
from opentelemetry import metrics

@codoperf_otel.monitor_performance("parent")
def parent():
    return sum(range(2_000))

@codoperf_otel.monitor_performance("child")
def child():
    return sum(range(2_000))

@codoperf_otel.monitor_performance("grandchild")
def grandchild():
    return sum(range(2_000))
"""

CONFIGURE = "handle = codoperf_otel.configure('forks', file=sys.argv[1], metric_export_interval={interval})\n"

# Python's own warning of forks under threads, with its line of source, and what gRPC tells of a fork that
# fell into the work of one of its inner threads, which nobody can wait for
EXPECTED = re.compile(r"DeprecationWarning|^ |fork_posix\.cc")

OS_FORK = """
for _ in range(5):
    parent()
{flush}
pid = os.fork()
if pid == 0:
    for _ in range(3):
        child()
    other = os.fork()
    if other == 0:
        for _ in range(2):
            grandchild()
        sys.exit()
    os.waitpid(other, 0)
    sys.exit()
os.waitpid(pid, 0)
for _ in range(4):
    parent()
"""

MULTIPROCESSING = """
{before}
for _ in range(5):
    parent()
{flush}
import multiprocessing
def job():
    for _ in range(3):
        child()
process = multiprocessing.get_context("fork").Process(target=job)
process.start()
process.join()
assert process.exitcode == 0
for _ in range(4):
    parent()
"""


def run(program, *args, **variables):
    """A program that ends well and has nothing to complain of."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-c", START + program, *map(str, args)],
        env={**environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert not [line for line in done.stderr.splitlines() if not EXPECTED.search(line)], done.stderr
    return done.stdout


def attributes(items):
    """OTLP JSON attributes as a dict."""
    return {item["key"]: next(iter(item["value"].values())) for item in items}


def documents(folder, signal):
    """The groups of one resource in a file."""
    key = "resourceSpans" if signal == "traces" else "resourceMetrics"
    lines = (folder / f"{signal}.jsonl").read_text().splitlines()
    return [group for line in lines for group in json.loads(line)[key]]


def spans(folder):
    """How many spans of each name were written."""
    return Counter(
        span["name"]
        for group in documents(folder, "traces")
        for scope in group["scopeSpans"]
        for span in scope["spans"]
    )


def points(folder, name, scope_name="codoperf_otel"):
    """(process, function, point) of each point of a metric, in the order they were written."""
    return [
        (
            attributes(group["resource"]["attributes"])["service.instance.id"],
            attributes(point.get("attributes", ())).get("code.function.name"),
            point,
        )
        for group in documents(folder, "metrics")
        for scope in group["scopeMetrics"]
        if scope["scope"]["name"] == scope_name
        for metric in scope["metrics"]
        if metric["name"] == name
        for point in metric.get("histogram", metric.get("sum"))["dataPoints"]
    ]


def totals(folder, delta=False):
    """(function, calls) by process: the last cumulative count, or the sum of the deltas."""
    found = Counter()
    for process, function, point in points(folder, "codoperf.function.duration"):
        count = int(point.get("count", 0))
        found[process, function] = found[process, function] + count if delta else count
    return sorted((function.rpartition(".")[2], count) for (_, function), count in found.items())


@pytest.fixture(params=["cumulative", "delta"])
def temporality(request):
    """Each test under both."""
    return request.param


@pytest.fixture(params=[60, 0.05], ids=["exported at the end", "exported all the time"])
def interval(request):
    """With and without exports of the periodic readers in between."""
    return request.param


@pytest.mark.parametrize("flush", ["", "handle.force_flush()"], ids=["not flushed", "flushed"])
@pytest.mark.parametrize(
    ("program", "calls"),
    [
        (OS_FORK, {"parent": 9, "child": 3, "grandchild": 2}),
        (MULTIPROCESSING.replace("{before}", ""), {"parent": 9, "child": 3}),
        (MULTIPROCESSING.replace("{before}", "import multiprocessing.util"), {"parent": 9, "child": 3}),
    ],
    ids=["os.fork", "multiprocessing", "multiprocessing loaded before"],
)
def test_children_export_their_own(tmp_path, temporality, interval, program, calls, flush):
    """Spans and counts of each process are those of its own calls, from its first one on."""
    run(
        CONFIGURE.format(interval=interval) + program.format(flush=flush),
        tmp_path,
        OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=temporality,
    )
    assert spans(tmp_path) == calls
    assert totals(tmp_path, temporality == "delta") == sorted(calls.items())
    cpu = points(tmp_path, "codoperf.function.cpu.time")
    assert all(point["asDouble"] >= 0 for _, _, point in cpu)
    assert len({process for process, _, _ in cpu}) == len(calls)


OTHERS = """
counter = metrics.get_meter("other library").create_counter("orders")
counter.add(5)
parent()
pid = os.fork()
if pid == 0:
    counter.add(2)
    child()
    sys.exit()
os.waitpid(pid, 0)
"""


def test_metrics_of_other_libraries_go_on(tmp_path):
    """The child's end sends them: the parent's count goes on, with none of this package's metrics."""
    run(CONFIGURE.format(interval=60) + OTHERS, tmp_path)
    assert {int(point["asInt"]) for _, _, point in points(tmp_path, "orders", "other library")} == {5, 7}
    assert totals(tmp_path) == [("child", 1), ("parent", 1)]


def test_child_is_a_process_of_its_own(tmp_path):
    """Spans and metrics of parent and child differ in service.instance.id and process.pid alone."""
    run(
        CONFIGURE.format(interval=60) + OS_FORK.format(flush=""),
        tmp_path,
        OTEL_RESOURCE_ATTRIBUTES="team=blue,host.name=theirs",
    )
    found = [attributes(group["resource"]["attributes"]) for group in documents(tmp_path, "metrics")]
    of_spans = [attributes(group["resource"]["attributes"]) for group in documents(tmp_path, "traces")]
    own = {(each.pop("service.instance.id"), each.pop("process.pid")) for each in found}
    assert len(own) == len({instance for instance, _ in own}) == len({pid for _, pid in own}) == 3
    assert (found[0]["team"], found[0]["host.name"]) == ("blue", "theirs")
    assert found[0] == found[1] == found[2]
    assert {(each["service.instance.id"], each["process.pid"]) for each in of_spans} == own


def test_child_of_a_shut_down_parent_stays_silent(tmp_path):
    """What was shut down before the fork does not come to life in the child."""
    program = """
parent()
handle.shutdown()
pid = os.fork()
if pid == 0:
    child()
    time.sleep(0.3)
    sys.exit()
os.waitpid(pid, 0)
"""
    run(CONFIGURE.format(interval=0.05) + program, tmp_path)
    assert spans(tmp_path) == {"parent": 1}
    assert totals(tmp_path) == [("parent", 1)]


def test_a_child_does_not_keep_its_parents_files(tmp_path):
    """It has each telemetry file open once, when it exports; before, none."""
    program = """
def open_files():
    names = [os.path.join("/proc/self/fd", number) for number in os.listdir("/proc/self/fd")]
    files = [os.readlink(name) for name in names if os.path.lexists(name)]
    return sorted(os.path.basename(file) for file in files if file.startswith(sys.argv[1]))

both = ["metrics.jsonl", "traces.jsonl"]
parent(), handle.force_flush()
assert open_files() == both, open_files()
for _ in range(2):
    pid = os.fork()
    if pid:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    assert open_files() == [], open_files()
    child(), handle.force_flush()
    assert open_files() == both, open_files()
"""
    run(CONFIGURE.format(interval=60) + program, tmp_path)
    assert spans(tmp_path) == {"parent": 1, "child": 2}


def test_binding_to_other_providers_is_left_alone(tmp_path):
    """Where the program has bound this package to providers of its own, a fork does not change that."""
    program = """
from opentelemetry.sdk.metrics import MeterProvider
codoperf_otel.instrument(meter_provider=MeterProvider())
"""
    run(CONFIGURE.format(interval=60) + program + OS_FORK.format(flush=""), tmp_path)
    assert points(tmp_path, "codoperf.function.duration") == []
    assert spans(tmp_path) == {"parent": 9, "child": 3, "grandchild": 2}


def test_process_pool_workers_export(tmp_path):
    """The workers of an executor are multiprocessing children."""
    program = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
def job(_):
    child()
with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
    list(pool.map(job, range(10)))
"""
    run(CONFIGURE.format(interval=60) + program, tmp_path)
    assert spans(tmp_path) == {"child": 10}
    assert sum(count for _, count in totals(tmp_path)) == 10


def test_spawned_child_has_nothing_to_do_with_it(tmp_path):
    """A spawned child starts afresh: it is configured if its own main module does it."""
    script = tmp_path / "main.py"
    script.write_text(
        START
        + """
import multiprocessing
if __name__ == "__main__":
    codoperf_otel.configure(file=sys.argv[1])
    parent()
    process = multiprocessing.get_context("spawn").Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == 0
"""
    )
    subprocess.run([sys.executable, script, tmp_path / "out"], check=True, timeout=60)
    assert spans(tmp_path / "out") == {"parent": 1}


# over the network: connections are not shared

BUSY = """
import threading
handle = codoperf_otel.configure(endpoint=sys.argv[1])
stopped = threading.Event()
def export():
    while not stopped.is_set():
        parent()
        handle.force_flush()
thread = threading.Thread(target=export)
thread.start()
for _ in range(int(sys.argv[2])):
    pid = os.fork()
    if pid == 0:
        child()
        sys.exit()
    os.waitpid(pid, 0)
stopped.set()
thread.join()
"""


CALM = """
handle = codoperf_otel.configure(endpoint=sys.argv[1])
for _ in range(int(sys.argv[2])):
    parent()
    assert handle.force_flush()
    pid = os.fork()
    if pid == 0:
        child()
        sys.exit()
    os.waitpid(pid, 0)
"""


class Receiver:
    """Counts the spans that arrive, in all and over each connection."""

    def __init__(self):
        self.spans = Counter()
        self.connections = defaultdict(set)

    def add(self, peer, request):
        for group in request.resource_spans:
            for scope in group.scope_spans:
                names = [span.name for span in scope.spans]
                self.spans.update(names)
                self.connections[peer].update(names)


@pytest.fixture
def http_endpoint():
    """An OTLP/HTTP endpoint on loopback that keeps connections."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/traces":
                receiver.add(
                    self.client_address, trace_service_pb2.ExportTraceServiceRequest.FromString(body)
                )
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", receiver
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def grpc_endpoint():
    """An OTLP/gRPC endpoint on loopback."""
    receiver = Receiver()

    class Traces(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request, context):  # noqa: N802
            receiver.add(context.peer(), request)
            return trace_service_pb2.ExportTraceServiceResponse()

    class Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
        def Export(self, request, context):  # noqa: N802
            return metrics_service_pb2.ExportMetricsServiceResponse()

    server = grpc.server(ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Traces(), server)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Metrics(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"http://127.0.0.1:{port}", receiver
    server.stop(None).wait()


@pytest.fixture(params=["http/protobuf", "grpc"])
def endpoint(request):
    """Each test over both."""
    name = "grpc_endpoint" if request.param == "grpc" else "http_endpoint"
    return (*request.getfixturevalue(name), request.param)


def test_forks_in_the_middle_of_exports(endpoint):
    """Children export while the parent is busy exporting."""
    url, receiver, protocol = endpoint
    run(BUSY, url, 10, OTEL_EXPORTER_OTLP_PROTOCOL=protocol)
    assert receiver.spans["child"] == 10
    assert receiver.spans["parent"] > 1


def test_children_have_connections_of_their_own(endpoint):
    """A connection that the parent keeps open is never used by a child."""
    url, receiver, protocol = endpoint
    run(CALM, url, 3, OTEL_EXPORTER_OTLP_PROTOCOL=protocol)
    assert receiver.spans == {"parent": 3, "child": 3}
    assert {len(names) for names in receiver.connections.values()} == {1}


PLACES = """
from codoperf_otel import performance_context
from codoperf_otel.testing import capture_telemetry

@codoperf_otel.cached_function
def cached(number):
    return number

def operations(prefix, number):
    for each in range(number):
        with performance_context(f"{prefix} {each}"):
            pass

cached(1), operations("parents", 1980)
if (pid := os.fork()) == 0:
    with capture_telemetry() as captured:
        operations("parents", int(sys.argv[1]))
        operations("childs", 30)
        cached(1)
    for name in ("codoperf.operation.duration", "codoperf.cache.lookups"):
        overflown = [
            "otel.metric.overflow" in point.attributes for point in captured.metric(name).points
        ]
        print(name, overflown.count(False), overflown.count(True))
    sys.stdout.flush()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""


@pytest.mark.parametrize(
    ("again", "operations", "lookups"),
    [(0, "30 0", "1 0"), (1980, "1997 1", "0 1")],  # 2 of 1,999 have the cache's entries, by tier
    ids=["new sets", "the parent's sets again"],
)
def test_children_have_all_places_of_attribute_sets(again, operations, lookups):
    """A child takes places for what it uses itself, new or known; the bound is that of one process."""
    assert run(PLACES, again).splitlines() == [
        f"codoperf.operation.duration {operations}",
        f"codoperf.cache.lookups {lookups}",
    ]


FIRST_OPERATION = """
import os, signal, sys, threading, time
from codoperf_otel import performance_context
def operation():
    with performance_context("op"): pass
threading.Thread(target=operation).start()
time.sleep(float(sys.argv[1]))
child = os.fork()
if not child:
    signal.alarm(30)
    operation()
    os._exit(0)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0)
"""


@pytest.mark.parametrize("after", [0, 0.0005, 0.001, 0.002, 0.003, 0.004])
def test_a_child_does_not_wait_for_a_module_that_is_half_imported(after):
    """A fork while another thread begins the process's first operation, which loads the readings."""
    command = [sys.executable, "-W", "ignore", "-c", FIRST_OPERATION, str(after)]
    assert subprocess.run(command, timeout=60).returncode == 0


FORKING = Path(__file__).parent / "programs" / "forking.py"


@pytest.mark.parametrize("method", ["os.fork", "multiprocessing"])
def test_forks_beside_busy_threads(tmp_path, temporality, method, scale):
    """No child waits for ever, and each reports its own pid, counts, CPU time and memory."""
    done = subprocess.run(
        [sys.executable, str(FORKING), str(tmp_path), method, str(scale(200))],
        env={**os.environ, "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": temporality},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    ended = json.loads(done.stdout)
    assert set(ended.values()) == {0}
    own = Counter(
        (attributes(group["resource"]["attributes"])["process.pid"], span["name"])
        for group in documents(tmp_path, "traces")
        for scope in group["scopeSpans"]
        for span in scope["spans"]
    )
    figures = by_process(tmp_path, temporality == "delta")
    for pid in ended:
        assert {name: number for (of, name), number in own.items() if of == pid} == {"step": 3, "held": 1}
        assert figures[pid, "codoperf.function.duration"] == 3
        assert 0.006 <= figures[pid, "codoperf.function.cpu.time"] < 1
        assert figures[pid, "process.cpu.time"] < 1  # the parent took more than that before
        assert figures[pid, "process.memory.usage"] > 10 << 20


def by_process(folder, delta):
    """The figure of each metric by process: the last cumulative one, or the sum of the deltas."""
    series = {}
    for group in documents(folder, "metrics"):
        pid = attributes(group["resource"]["attributes"])["process.pid"]
        for scope in group["scopeMetrics"]:
            for metric in scope["metrics"]:
                data = next(metric[kind] for kind in ("sum", "histogram", "gauge") if kind in metric)
                adds_up = delta and data.get("isMonotonic", "histogram" in metric)
                for point in data["dataPoints"]:
                    value = float(point.get("count", point.get("asDouble", point.get("asInt", 0))))
                    key = (pid, metric["name"], str(point.get("attributes")))
                    series[key] = value + (series.get(key, 0) if adds_up else 0)
    found = Counter()
    for (pid, name, _), value in series.items():
        found[pid, name] += value
    return found


HANGING = """
import threading, time

def calls():
    for frame in list(sys._current_frames().values()):
        while frame is not None:
            if frame.f_globals["__name__"].startswith("grpc."):
                return True
            frame = frame.f_back
    return False

def work():
    while True:
        parent()
        handle.force_flush(0.1)

os.register_at_fork(before=lambda: print(calls(), flush=True))  # what is registered first comes last
handle = codoperf_otel.configure(endpoint=sys.argv[1], shutdown_timeout=0.2, durable=sys.argv[2] == "spool")
threading.Thread(target=work, daemon=True).start()
for _ in range(2):
    while not calls():
        time.sleep(0.001)
    if (pid := os.fork()) == 0:
        child()
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("way", ["directly", "spool"])
def test_a_fork_in_the_midst_of_a_call_that_hangs(tmp_path, way):
    """The call is ended first: gRPC aborts children of a parent that is in one."""
    listening = socket.create_server(("127.0.0.1", 0))
    connections = []

    def accept():
        with contextlib.suppress(OSError):
            while True:
                connections.append(listening.accept()[0])
                connections[-1].sendall(bytes(3) + b"\4" + bytes(5))  # empty settings: it speaks HTTP/2

    thread = threading.Thread(target=accept)
    thread.start()
    variables = {
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_METRICS_EXPORTER": "none",
        **({"CODOPERF_OTEL_SPOOL_DIR": str(tmp_path / "spool")} if way == "spool" else {}),
    }
    command = [sys.executable, "-W", "ignore", "-c", START + HANGING]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{listening.getsockname()[1]}", way],
        capture_output=True, text=True, timeout=60, env={**os.environ, **variables},
    )  # fmt: skip
    listening.shutdown(socket.SHUT_RDWR)
    thread.join()
    for opened in (listening, *connections):
        opened.close()
    assert done.stdout.split() == ["False", "0"] * 2
