"""`codoperf doctor`: each line passes or says what to do; the status says whether telemetry arrives."""

from __future__ import annotations

import json
import os
import socket
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from codoperf_otel.cli import main
from codoperf_otel.sdk.private_files import prepare
from codoperf_otel.sdk.spool.records import encoded
from codoperf_otel.sdk.spool.segments import Segment
from tests.endpoints import serve_requests

pytestmark = pytest.mark.once


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith(("OTEL_", "CODOPERF_OTEL_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def doctor(capsys):
    """What it prints as JSON, by check, and its exit status."""

    def ask(*arguments):
        status = main(["doctor", "--json", "--timeout", "2", *arguments])
        document = json.loads(capsys.readouterr().out)
        assert document["ok"] is (status == 0)
        return {check["check"]: check for check in document["checks"]}, status

    return ask


@pytest.fixture
def serve():
    """Serve OTLP over HTTP, with a given status; the requests are kept."""
    stops = []

    def start(status=200, headers=(), *, secret=None, location="", body=b""):
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                requests.append(self.rfile.read(int(self.headers["Content-Length"])))
                refused = secret and self.headers["Authorization"] != secret
                self.answer(200 if "/there" in self.path else 302 if refused else status)

            def do_GET(self):
                self.answer(200)

            def do_HEAD(self):
                self.answer(404)

            def answer(self, code):
                self.send_response_only(code)
                for name, value in headers or [("Date", self.date_time_string())]:
                    self.send_header(name, value)
                if location and code >= 300:
                    self.send_header("Location", location.format(host=self.headers["Host"]))
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command == "POST":
                    self.wfile.write(body)

        requests = []
        port, stop = serve_requests(Handler)
        stops.append(stop)
        return port, requests

    yield start
    for stop in stops:
        stop()


def test_a_span_is_acknowledged(doctor, serve, monkeypatch):
    """The server has the span, and every check passes."""
    port, requests = serve()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    checks, status = doctor("--endpoint", f"http://127.0.0.1:{port}")
    assert status == 0
    assert checks["span"]["status"] == checks["clock"]["status"] == "ok"
    sent = ExportTraceServiceRequest.FromString(requests[0])
    assert sent.resource_spans[0].scope_spans[0].spans[0].name == "codoperf doctor"


def test_a_refused_connection(doctor):
    """The line says where nothing listens, and no span is tried."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    checks, status = doctor("--endpoint", f"http://127.0.0.1:{port}")
    assert status == 1
    assert checks["connection"]["status"] == "failed"
    assert str(port) in checks["connection"]["text"]
    assert "span" not in checks


def test_an_unknown_host(doctor):
    """A name that does not resolve is the first line that fails."""
    checks, status = doctor("--endpoint", "http://collector.invalid:4318")
    assert status == 1
    assert checks["name"]["status"] == "failed"
    assert "collector.invalid" in checks["name"]["text"]


@pytest.mark.parametrize(
    ("code", "advice"), [(401, "OTEL_EXPORTER_OTLP_HEADERS"), (404, "another service"), (400, "its own log")]
)
def test_a_span_that_is_not_taken(doctor, serve, monkeypatch, code, advice):
    """The advice fits the server's answer."""
    port, _ = serve(code)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    checks, status = doctor("--endpoint", f"http://127.0.0.1:{port}")
    assert status == 1
    assert checks["span"]["status"] == "failed"
    assert advice in checks["span"]["advice"]


@pytest.mark.parametrize(
    ("status", "location", "body", "shown"),
    [
        (301, "http://me:hunter2@{host}/there/v1/traces?token=hunter2", b"", "/there, where"),
        (308, "/there", b"", "redirected to /there, where"),
        (302, "", b"", "another address"),
        (200, "", b"\n<!doctype html>", "a web page"),
    ],
)
def test_a_success_that_is_none(doctor, serve, monkeypatch, status, location, body, shown):
    """A redirection or a web page, which exporters take for success, is no acknowledged span."""
    port, _ = serve(status, location=location, body=body)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    checks, ended = doctor("--endpoint", f"http://127.0.0.1:{port}")
    assert ended == 1
    assert checks["span"]["status"] == "failed"
    assert shown in checks["span"]["text"]
    assert "hunter2" not in str(checks)


@pytest.mark.parametrize("authorization", ["Bearer%20hunter2", "Bearer hunter2"])
def test_a_server_that_asks_for_headers(doctor, serve, monkeypatch, authorization):
    """The second look at its answer carries them, too."""
    port, _ = serve(secret="Bearer hunter2")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization={authorization}")
    _, ended = doctor("--endpoint", f"http://127.0.0.1:{port}")
    assert ended == 0


def test_the_wrong_protocol(doctor, serve):
    """Over gRPC, an HTTP server is no collector: the port is asked what it speaks."""
    port, _ = serve()
    checks, status = doctor("--endpoint", f"http://127.0.0.1:{port}")
    assert status == 1
    assert "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf" in checks["span"]["advice"]


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_server_that_never_answers(doctor, monkeypatch, protocol):
    """It ends at the time limit."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        checks, status = doctor(
            "--endpoint", f"http://127.0.0.1:{silent.getsockname()[1]}", "--timeout", "0.3"
        )
    assert status == 1
    assert "0.3 s" in checks["span"]["text"]
    assert "OTEL_EXPORTER_OTLP_PROTOCOL" in checks["span"]["advice"]


def test_a_clock_that_is_wrong(doctor, serve, monkeypatch):
    """A server an age behind is noted."""
    port, _ = serve(headers=[("Date", "Thu, 01 Jan 2015 00:00:00 GMT")])
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    checks, status = doctor("--endpoint", f"http://127.0.0.1:{port}")
    assert status == 0
    assert checks["clock"]["status"] == "note"
    assert "behind" in checks["clock"]["text"]


def test_a_server_without_encryption(doctor, serve):
    """The handshake fails, and no span is sent."""
    port, requests = serve()
    checks, status = doctor("--endpoint", f"https://127.0.0.1:{port}")
    assert status == 1
    assert checks["encryption"]["status"] == "failed"
    assert "http://" in checks["encryption"]["advice"]
    assert not requests


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("CODOPERF_OTEL_LEAN_SPANS", "perhaps", "variables"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector", "settings"),
        ("OTEL_TRACES_EXPORTER", "jaeger", "settings"),
    ],
)
def test_a_wrong_variable(doctor, monkeypatch, name, value, check):
    """It is named, with its value."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    monkeypatch.setenv(name, value)
    checks, status = doctor()
    assert status == 1
    assert checks[check]["status"] == "failed"
    assert name in checks[check]["text"]
    assert value in checks[check]["text"]


def test_a_switch_that_is_off(doctor, monkeypatch):
    """That nothing is sent is said, and is no failure."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    checks, status = doctor()
    assert status == 0
    assert checks["switch"]["status"] == "note"


def test_a_cache_folder_that_others_may_write_to(doctor, monkeypatch, tmp_path):
    """Nothing would be kept there."""
    folder = tmp_path / "cache" / "codoperf-otel"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    checks, status = doctor()
    assert status == 1
    assert checks["cache"]["status"] == "failed"


def test_no_secret_is_shown(capsys, monkeypatch, serve):
    """Neither headers nor the password of a URL are on the screen."""
    port, _ = serve(401)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20hunter2")
    main(["doctor", "--endpoint", f"http://me:hunter2@127.0.0.1:{port}"])
    shown = capsys.readouterr()
    assert "FAILED" in shown.out
    assert "hunter2" not in shown.out + shown.err


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "soon"])
def test_a_wrong_time_limit(capsys, seconds):
    """One line says what is allowed."""
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--timeout", seconds])
    assert ended.value.code == 2
    assert "is not a number of seconds above 0" in capsys.readouterr().err


def test_a_misspelt_variable(capsys, monkeypatch):
    """The nearest right name is the advice."""
    monkeypatch.setenv("CODOPERF_OTEL_LEAN_SPAN", "true")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    assert main(["doctor"]) == 0
    shown = capsys.readouterr()
    assert "did you mean CODOPERF_OTEL_LEAN_SPANS?" in shown.out
    assert shown.err == ""


@pytest.mark.parametrize("host", ["a..b", "x" * 70])
def test_what_cannot_be_the_name_of_a_host(doctor, host):
    """It is the first line that fails, not a traceback."""
    checks, status = doctor("--endpoint", f"http://{host}:4318")
    assert status == 1
    assert checks["name"]["status"] == "failed"


def test_a_name_server_that_never_answers(doctor, monkeypatch):
    """The system's own time limit may be half a minute."""
    ended = threading.Event()

    def never(*_, **__):
        ended.wait(60)
        raise socket.gaierror("too late")

    monkeypatch.setattr(socket, "getaddrinfo", never)
    checks, status = doctor("--endpoint", "http://collector:4318", "--timeout", "0.2")
    ended.set()
    assert status == 1
    assert "no answer within 0.2 s" in checks["name"]["text"]


def test_no_secret_of_a_query_is_shown(capsys, monkeypatch):
    """Errors of HTTP libraries quote the whole address."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        closing = threading.Thread(target=lambda: [server.accept()[0].close() for _ in range(3)], daemon=True)
        closing.start()
        main(["doctor", "--timeout", "2", "--endpoint", f"http://127.0.0.1:{port}/?token=hunter2"])
    shown = capsys.readouterr()
    assert "FAILED  span" in shown.out
    assert "hunter2" not in shown.out + shown.err


@pytest.mark.parametrize("name", ["CERTIFICATE", "TRACES_CERTIFICATE", "CLIENT_CERTIFICATE"])
def test_a_certificate_that_cannot_be_read(doctor, serve, monkeypatch, tmp_path, name):
    """The variable is named, whether there is no such file or it holds something else."""
    port, _ = serve()
    monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", "no/such.pem")
    checks, status = doctor("--endpoint", f"https://127.0.0.1:{port}")
    assert status == 1
    assert f"OTEL_EXPORTER_OTLP_{name} is 'no/such.pem'" in checks["settings"]["text"]
    (tmp_path / "other.pem").write_text("no certificate")
    monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", str(tmp_path / "other.pem"))
    checks, status = doctor("--endpoint", f"https://127.0.0.1:{port}")
    assert status == 1
    assert checks["encryption"]["status"] == "failed"
    assert "_CLIENT_CERTIFICATE" in checks["encryption"]["advice"]


CERTIFICATES = Path(__file__).parent / "data" / "certificates"


@pytest.fixture
def serve_encrypted():
    """Serves OTLP over TLS with the certificate of a name; returns the port."""
    ends = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    def serve(name):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATES / f"{name}.pem")
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        ends.append((server, thread))
        return server.server_port

    yield serve
    for server, thread in ends:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("served", "trusted", "advice"),
    [
        ("right", None, "set OTEL_EXPORTER_OTLP_CERTIFICATE"),
        ("expired", "expired", "renewed"),
        ("other-host", "other-host", "name the endpoint by a host"),
        ("right", "right", None),
    ],
)
def test_certificates(doctor, serve_encrypted, monkeypatch, served, trusted, advice):
    """What is wrong with one is said, and what to do; one that is right is taken."""
    for bundle in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(bundle, raising=False)
    if trusted:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(CERTIFICATES / f"{trusted}.pem"))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    checks, status = doctor("--endpoint", f"https://localhost:{serve_encrypted(served)}")
    assert status == (1 if advice else 0)
    if advice:
        assert advice in checks["encryption"]["advice"]
    else:
        assert checks["span"]["status"] == "ok"


def test_a_bundle_that_takes_precedence(doctor, serve_encrypted, monkeypatch):
    """What `requests` trusts instead is named: the exporter sends by it."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATES / "other-host.pem"))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(CERTIFICATES / "right.pem"))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    checks, _ = doctor("--timeout", "2", "--endpoint", f"https://localhost:{serve_encrypted('right')}")
    assert checks["encryption"]["status"] == "ok"
    if checks["span"]["status"] == "failed":  # older exporters hand their file to each request
        assert "REQUESTS_CA_BUNDLE" in checks["span"]["advice"]


def test_another_endpoint_of_metrics(doctor, serve, monkeypatch):
    """The way there is checked, too."""
    port, _ = serve()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        other = unused.getsockname()[1]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"http://127.0.0.1:{other}")
    checks, status = doctor()
    assert status == 1
    assert checks["span"]["status"] == "ok"
    assert checks["connection"]["status"] == "failed"
    assert str(other) in checks["connection"]["text"]


def test_a_configuration_file_that_is_not_there(doctor, monkeypatch, tmp_path):
    """It fails as `configure` would; one that is there decides, and is not checked."""
    file = tmp_path / "otel.yaml"
    monkeypatch.setenv("OTEL_CONFIG_FILE", str(file))
    checks, status = doctor()
    assert (checks["settings"]["status"], status) == ("failed", 1)
    file.touch()
    checks, status = doctor()
    assert (checks["settings"]["status"], status) == ("note", 0)
    monkeypatch.setenv("CODOPERF_OTEL_REDACT", "*token*")
    checks, status = doctor()
    assert (checks["settings"]["status"], status) == ("failed", 1)


def test_a_cache_that_is_switched_off(doctor, monkeypatch, tmp_path):
    """What the folder is like does not matter then; it does otherwise."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "cache"))
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    checks, status = doctor()
    assert (checks["cache"]["status"], status) == ("failed", 1)
    monkeypatch.setenv("CODOPERF_OTEL_CACHE_DISK", "false")
    checks, status = doctor()
    assert (checks["cache"]["status"], status) == ("ok", 0)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no spool on Windows")
def test_the_spool(doctor, monkeypatch, tmp_path):
    """Where it is, whether it can be used, and what waits there: nothing is made or taken."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    checks, _ = doctor()
    assert "not asked for" in checks["spool"]["text"]
    folder = tmp_path / "spool"
    monkeypatch.setenv("CODOPERF_OTEL_SPOOL_DIR", str(folder))
    checks, _ = doctor()
    assert checks["spool"] == {"check": "spool", "status": "ok", "text": str(folder), "advice": None}
    assert not folder.exists()

    prepare(folder / "localhost_4318-1234abcd")
    folder.chmod(0o700)
    segment = Segment.new(folder / "localhost_4318-1234abcd", "traces")
    segment.write(encoded(b"x" * 2048, 1))
    checks, _ = doctor()
    assert checks["spool"]["status"] == "ok"  # a running program has it
    segment.close()
    checks, status = doctor()
    assert (checks["spool"]["status"], status) == ("note", 0)
    assert f"codoperf replay {folder}" in checks["spool"]["advice"]
    assert segment.path.exists()

    folder.chmod(0o777)
    checks, status = doctor()
    assert (checks["spool"]["status"], status) == ("failed", 1)
    assert "may be written by other users" in checks["spool"]["text"]
