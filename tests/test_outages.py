"""A real Collector that is stopped, and killed, while a program sends through a spool: nothing is lost.

It hands on at once and without a queue of its own, so what it acknowledges has arrived.
"""

from __future__ import annotations

import gzip
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler

import pytest
from endpoints import serve_requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from real_stack import SCRIPT, eventually
from test_spool import variables

pytestmark = pytest.mark.stack

CONFIG = """
receivers:
  otlp:
    protocols: {{grpc: {{endpoint: "127.0.0.1:{grpc}"}}, http: {{endpoint: "127.0.0.1:{http}"}}}}
exporters:
  otlp_http:
    endpoint: http://127.0.0.1:{sink}
    sending_queue: {{enabled: false}}
    retry_on_failure: {{enabled: false}}
service:
  pipelines:
    traces: {{receivers: [otlp], exporters: [otlp_http]}}
  telemetry: {{metrics: {{level: none}}}}
"""


class RealCollector:
    """A Collector process that can be started again and again on its ports."""

    def __init__(self, folder, sink):
        done = subprocess.run([sys.executable, SCRIPT, "path", "otelcol"], capture_output=True, text=True)
        assert done.returncode == 0, f"{done.stderr}\n`make stack` builds it."
        self.ports = {"grpc": free_port(), "http": free_port()}
        self._config = folder / "collector.yaml"
        self._config.write_text(CONFIG.format(sink=sink, **self.ports))
        self._command = [done.stdout.strip(), "--config", self._config]
        self._log = (folder / "collector.log").open("wb")
        self._process = None

    def start(self):
        """Start it, and wait until it listens."""
        self._process = subprocess.Popen(self._command, stdout=self._log, stderr=self._log)
        assert eventually(lambda: all(map(listens, self.ports.values())), bool)

    def kill(self):
        """End it at once."""
        self._process.kill()
        self._process.wait()

    def close(self):
        """End it and its log."""
        self.kill()
        self._log.close()


def free_port():
    """A port that nobody listens on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def listens(port):
    """Whether somebody listens on a port."""
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def arrived():
    """The ids of the spans that have come through, as often as they came, and the port that takes them."""
    ids = []

    class Sink(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
            for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in group.scope_spans:
                    ids.extend(span.span_id for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    port, stop = serve_requests(Sink)
    yield ids, port
    stop()


@pytest.fixture
def real_collector(tmp_path, arrived):
    """A Collector before its first start."""
    made = RealCollector(tmp_path, arrived[1])
    made.start()
    yield made
    made.close()


WORKING = """
import sys, time, codoperf_otel
handle = codoperf_otel.configure("shop", endpoint=sys.argv[1], durable=True)
began, count, seconds = time.monotonic(), 0, float(sys.argv[2])
while (elapsed := time.monotonic() - began) < seconds:
    while count < elapsed * 1000:
        with codoperf_otel.performance_context("work"): pass
        count += 1
    time.sleep(0.01)
print(count)
"""


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize(
    ("outage", "every"), [(None, 5), (60, None)], ids=["killed often", "stopped for long"]
)
def test_nothing_is_lost_while_a_collector_is_away(
    tmp_path, scale, arrived, real_collector, protocol, outage, every
):
    """All spans of a program that makes 1,000 a second arrive, and each id tells what came twice."""
    ids, _ = arrived
    seconds = max(scale(120 if every else 3 * outage), 6)
    address = f"http://127.0.0.1:{real_collector.ports[protocol]}"
    otlp = {"grpc": "grpc", "http": "http/protobuf"}[protocol]
    command = [sys.executable, "-c", WORKING, address, str(seconds)]
    environ = variables(tmp_path / "spool", OTEL_EXPORTER_OTLP_PROTOCOL=otlp, OTEL_BSP_SCHEDULE_DELAY="500")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as program:
        ended = threading.Event()
        waiting = threading.Thread(target=lambda: (program.wait(), ended.set()))
        waiting.start()
        pause = min(every or outage, seconds / 3)
        while not ended.wait(pause):
            real_collector.kill()
            if outage is not None and ended.wait(pause):
                real_collector.start()
                break
            real_collector.start()
        waiting.join()
        count = int(program.stdout.read())
    replay = [sys.executable, "-m", "codoperf_otel.cli", "replay", tmp_path / "spool", "--endpoint", address]
    done = subprocess.run(replay, capture_output=True, text=True, env=environ)
    assert done.returncode == 0, done.stderr
    assert count > 50 * seconds  # on a busy machine fewer than it means to
    assert len(set(ids)) == count
