"""`configure`: arguments, the standard variables, providers that are there already, wrong settings."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

import pytest
import requests
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from codoperf_otel._environment_variables import check_all
from codoperf_otel.sdk.errors import Destination
from codoperf_otel.sdk.outputs import Console, File, Otlp
from codoperf_otel.sdk.settings import Arguments, resolve
from tests.endpoints import serve_requests

TAKES_READERS = tuple(map(int, version("opentelemetry-sdk").split(".")[:2])) >= (1, 43)

START = """
import logging, sys
import codoperf_otel
from opentelemetry import metrics, trace

@codoperf_otel.monitor_performance("work")
def work():
    pass
"""


def run(program, *args, **variables):
    """A fresh interpreter in which nothing is configured yet."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", START + program, *map(str, args)],
        env={**environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def ok(program, *args, **variables):
    """What a program printed that ended well and had nothing to complain of."""
    done = run(program, *args, **variables)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def attributes(items):
    """OTLP JSON attributes as a dict."""
    return {item["key"]: next(iter(item["value"].values())) for item in items}


def resources(folder, signal="traces"):
    """The resource attributes of each line."""
    lines = (Path(folder) / f"{signal}.jsonl").read_text().splitlines()
    return [
        attributes(group["resource"]["attributes"])
        for line in lines
        for group in json.loads(line)["resourceSpans" if signal == "traces" else "resourceMetrics"]
    ]


def span_names(folder):
    """The names of the spans in a folder."""
    lines = (Path(folder) / "traces.jsonl").read_text().splitlines()
    return [
        span["name"]
        for line in lines
        for group in json.loads(line)["resourceSpans"]
        for scope in group["scopeSpans"]
        for span in scope["spans"]
    ]


def metric_names(folder):
    """The names of the metrics in a folder."""
    lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
    return {
        metric["name"]
        for line in lines
        for group in json.loads(line)["resourceMetrics"]
        for scope in group["scopeMetrics"]
        for metric in scope["metrics"]
    }


@pytest.fixture
def collector():
    """An OTLP/HTTP endpoint on loopback; `received` has path, headers and body of each request."""
    received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, self.headers, body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.received = received
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def otlp(**variables):
    """The two OTLP outputs that variables alone give."""
    outputs = resolve(Arguments(), variables).outputs
    assert all(isinstance(output, Otlp) for output in outputs)
    return {output.signal: output for output in outputs}


# what the settings come to


def test_nothing_set_is_otlp_to_the_local_collector():
    """Both signals go to port 4317 over gRPC."""
    found = otlp()
    assert {output.url for output in found.values()} == {"http://localhost:4317"}
    assert {output.protocol for output in found.values()} == {"grpc"}


@pytest.mark.parametrize(
    ("variables", "protocol", "url"),
    [
        (
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
            "http/protobuf",
            "http://localhost:4318/v1/traces",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, "http/protobuf", "http://c:4318/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/"}, "http/protobuf", "http://c:4318/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c/otlp"}, "http/protobuf", "https://c/otlp/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c/"}, "grpc", "https://c/"),
        (
            {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://c/v1/traces"},
            "http/protobuf",
            "https://c/v1/traces",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c/o?k=v"}, "http/protobuf", "https://c/o/v1/traces?k=v"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "c:4317"}, "grpc", "c:4317"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/mine"}, "http/protobuf", "http://c:4318/mine"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "grpc",
            "http://c:4318",
        ),
        (
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "HTTP/protobuf"},
            "http/protobuf",
            "http://localhost:4318/v1/traces",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, "grpc", "http://localhost:4317"),
    ],
)
def test_protocol_and_address_of_variables(variables, protocol, url):
    """The protocol's variable decides, else the port; base URLs get the signal's path over HTTP."""
    found = otlp(**variables)["traces"]
    assert (found.protocol, found.url) == (protocol, url)


def test_endpoint_argument_goes_before_variables():
    """It is a base URL for both signals, whatever the variables say."""
    variables = {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://other:4317"}
    outputs = resolve(Arguments(endpoint="http://mine:4318"), variables).outputs
    assert [output.url for output in outputs] == ["http://mine:4318/v1/traces", "http://mine:4318/v1/metrics"]
    assert {output.label for output in outputs} == {"http://mine:4318"}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, {"traces": [File], "metrics": [File]}),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1"}, {"traces": [File, Otlp], "metrics": [File, Otlp]}),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:1"}, {"traces": [File, Otlp], "metrics": [File]}),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, {"traces": [File, Otlp], "metrics": [File]}),
        ({"OTEL_METRICS_EXPORTER": "console"}, {"traces": [File], "metrics": [File, Console]}),
        ({"OTEL_TRACES_EXPORTER": "none"}, {"traces": [File], "metrics": [File]}),
        ({"OTEL_TRACES_EXPORTER": "Console, otlp"}, {"traces": [File, Console, Otlp], "metrics": [File]}),
    ],
)
def test_file_is_alone_unless_a_signal_has_an_endpoint_or_an_exporter(tmp_path, variables, expected):
    """With a file, OTLP is used for a signal only where something asks for it."""
    found = {"traces": [], "metrics": []}
    for output in resolve(Arguments(file=tmp_path), variables).outputs:
        found[output.signal].append(type(output))
    assert found == expected


def test_none_switches_a_signal_off():
    """OTEL_METRICS_EXPORTER=none leaves traces alone, also beside an endpoint argument."""
    outputs = resolve(Arguments(endpoint="http://c:4317"), {"OTEL_METRICS_EXPORTER": "none"}).outputs
    assert [output.signal for output in outputs] == ["traces"]


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        (
            {"endpoint": "localhost:4317"},
            {},
            "endpoint is 'localhost:4317': it must be an http:// or https://",
        ),
        ({"endpoint": "ftp://c"}, {}, "endpoint is 'ftp://c': it must be an http:// or https://"),
        ({"endpoint": "http://c:port"}, {}, "endpoint is 'http://c:port': it must be an http:// or https://"),
        ({"endpoint": "http://c:65536"}, {}, "URL whose port is a number up to 65535"),
        ({"endpoint": "http://"}, {}, "endpoint is 'http://': it must be an http:// or https://"),
        ({"endpoint": ""}, {}, "endpoint is '': it must be an http:// or https://"),
        ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "c:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "'c:1'"),
        (
            {},
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
            "OTEL_EXPORTER_OTLP_PROTOCOL is 'http/json': it must be one of grpc, http/protobuf",
        ),
        (
            {},
            {"OTEL_TRACES_EXPORTER": "zipkin"},
            "OTEL_TRACES_EXPORTER is 'zipkin': it must be one of otlp, console, none",
        ),
        ({}, {"OTEL_EXPORTER_OTLP_COMPRESSION": "deflate"}, "it must be one of none, gzip"),
        ({}, {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "sigma"}, "cumulative, delta, lowmemory"),
        (
            {},
            {"OTEL_METRIC_EXPORT_INTERVAL": "soon"},
            "OTEL_METRIC_EXPORT_INTERVAL is 'soon': it must be a nu",
        ),
        ({}, {"OTEL_BSP_MAX_QUEUE_SIZE": "0"}, "OTEL_BSP_MAX_QUEUE_SIZE is '0': it must be a whole number"),
        ({}, {"OTEL_BSP_SCHEDULE_DELAY": "1.5"}, "it must be a whole number above 0"),
        ({}, {"OTEL_BLRP_EXPORT_TIMEOUT": "-1"}, "OTEL_BLRP_EXPORT_TIMEOUT is '-1'"),
        (
            {},
            {"OTEL_BSP_MAX_QUEUE_SIZE": "100"},
            "OTEL_BSP_MAX_QUEUE_SIZE is '100': it must be at least OTEL_BSP_MAX_EXPORT_BATCH_SIZE, whi",
        ),
        (
            {},
            {"OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": "4000"},
            "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE is '4000': it must be at most OTEL_BLRP_MAX_QUEUE_SIZE, which",
        ),
        (
            {"endpoint": "https://c/otlp/v1/traces"},
            {},
            "it must be the address without '/v1/traces', which is added for each signal",
        ),
        (
            {"endpoint": "https://c:4318"},
            {"OTEL_EXPORTER_OTLP_HEADERS": "a=1,my secret"},
            "OTEL_EXPORTER_OTLP_HEADERS is '***': it must be name=value",
        ),
        ({"endpoint": "http://c:4318?api-key=secret"}, {}, "because api-key of its query goes along"),
        ({"shutdown_timeout": 0}, {}, "shutdown_timeout is 0: it must be a number of seconds above 0"),
        ({"shutdown_timeout": float("nan")}, {}, "shutdown_timeout is nan"),
        ({"event_loop": 0}, {}, "event_loop is 0: it must be a number of seconds above 0"),
        ({"event_loop": "fast"}, {}, "event_loop is 'fast'"),
        ({"event_loop": True}, {}, "event_loop is True"),
        ({"event_loop": 1e300}, {}, "event_loop is 1e+300"),
        ({"trace_imports": 0}, {}, "trace_imports is 0: it must be a number of seconds above 0"),
        ({"shutdown_timeout": 10**400}, {}, "shutdown_timeout is 1000"),
        ({"shutdown_timeout": None}, {}, "shutdown_timeout is None: it must be a number of seconds above 0"),
        (
            {"metric_export_interval": "1"},
            {},
            "metric_export_interval is '1': it must be a number of seconds",
        ),
        ({"service_name": " "}, {}, "service_name is ' ': it must be a text"),
        ({"file": 3}, {}, "file is 3: it must be the path of a folder"),
        ({"file": __file__}, {}, "it must be the path of a folder, not of a file"),
        (
            {"endpoint": "http://c:4318"},
            {"OTEL_EXPORTER_OTLP_HEADERS": "api-key=x"},
            "because api-key of OTEL_EXPORTER_OTLP_HEADERS goes along",
        ),
        ({"endpoint": "http://me:secret@c:4318"}, {}, "because a password goes along"),
        ({"endpoint": "https://me:secret@c:4317"}, {}, "without user and password over gRPC"),
        ({"endpoint": "me:secret@c:4317"}, {}, "endpoint is '***@c:4317': it must be an http:// or https://"),
        (
            {"endpoint": "ftp://me:secret/secret@secret@c"},
            {},
            "endpoint is 'ftp://***@c': it must be an http",
        ),
        (
            {},
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "c:4317",
                "OTEL_EXPORTER_OTLP_INSECURE": "true",
                "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "api-key=x",
            },
            "because api-key of OTEL_EXPORTER_OTLP_TRACES_HEADERS goes along",
        ),
    ],
)
def test_wrong_setting_is_named_with_its_value_and_what_is_allowed(arguments, variables, message):
    """Each wrong setting is one ValueError, and a password is never in it."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        resolve(Arguments(**arguments), variables)
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("what", ["CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE"])
@pytest.mark.parametrize("endpoint", ["https://c:4317", "https://c:4318"], ids=["grpc", "http"])
def test_a_certificate_must_be_a_file(endpoint, what, tmp_path):
    """One that is not there is an error at the start, where it would be read. HTTP takes a folder, too."""
    name = f"OTEL_EXPORTER_OTLP_TRACES_{what}"
    missing = {name: str(tmp_path / "missing.pem")}
    with pytest.raises(
        ValueError, match=f"{name} is '.*missing.pem': it must be the path of a file that can"
    ):
        resolve(Arguments(endpoint=endpoint), missing)
    assert resolve(Arguments(endpoint=endpoint.replace("https", "http")), missing).outputs
    file = tmp_path / "there.pem"
    file.touch()
    assert resolve(Arguments(endpoint=endpoint), {name: str(file)}).outputs
    if endpoint.endswith("4318") and what == "CERTIFICATE":
        assert resolve(Arguments(endpoint=endpoint), {name: str(tmp_path)}).outputs
    else:
        with pytest.raises(ValueError, match="the path of a file that can be read"):
            resolve(Arguments(endpoint=endpoint), {name: str(tmp_path)})


@pytest.mark.parametrize(
    "url", ["http://localhost:4318", "http://127.0.0.2:4318", "http://[::1]:4318", "https://c"]
)
def test_credentials_may_go_to_loopback_and_over_tls(url):
    """Headers are taken where nobody can read along."""
    assert resolve(Arguments(endpoint=url), {"OTEL_EXPORTER_OTLP_HEADERS": "api-key=x"}).outputs


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_EXPORTER_OTLP_HEADERS": "x-scope-orgid=team-a"},
        {
            "OTEL_EXPORTER_OTLP_HEADERS": "api-key=x",
            "CODOPERF_OTEL_ALLOW_PLAINTEXT_CREDENTIALS": "true",
        },
    ],
    ids=["no credential", "allowed by name"],
)
def test_headers_that_may_go_over_plain_text(variables):
    """A header that carries no credential may, and each may where that is allowed by name."""
    assert resolve(Arguments(endpoint="http://c:4318"), variables).outputs


def test_secrets_are_in_no_message(caplog):
    """What an exporter says about a failure goes out without header values, passwords and queries."""
    variables = {"OTEL_EXPORTER_OTLP_HEADERS": "api-key=hush%20hush,tenant=a"}
    settings = resolve(Arguments(endpoint="https://me:word@c/otlp?sig=mine"), variables)
    (output, _) = settings.outputs
    reason = "no answer of https://me:word@c/otlp?sig=mine to {'api-key': 'hush hush', 'tenant': 'a'}"
    Destination(output.label, output.secrets).trouble(f"{reason} hush%20hush")
    (line,) = caplog.messages
    assert line.count("***") == 4
    assert "tenant" in line
    assert not any(secret in line + repr(settings) for secret in ("word", "mine", "hush"))


def test_the_http_client_logs_no_secret(caplog):
    """Its own lines at level DEBUG show the address of each request: without the query where it is ours."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    port, stop = serve_requests(Handler)
    (output, _) = resolve(Arguments(endpoint=f"http://127.0.0.1:{port}?token=h%75sh%2f&a=mine"), {}).outputs
    caplog.set_level("DEBUG", "urllib3")
    try:
        with Destination(output.label, output.secrets).sending():
            requests.get(output.url, timeout=10)
        (ours,) = [line for line in caplog.messages if "GET" in line]
        requests.get(f"http://127.0.0.1:{port}?token=theirs", timeout=10)
    finally:
        stop()
    assert "?***" in ours
    assert not any(secret in ours for secret in ("hush", "h%75sh", "mine"))
    assert "token=theirs" in caplog.messages[-1]


# what happens then


def test_file_has_both_signals_and_the_process(tmp_path):
    """A call is a span and a metric, and the readings of the process are there."""
    ok("codoperf_otel.configure('shop', file=sys.argv[1]); work()", tmp_path / "out")
    assert span_names(tmp_path / "out") == ["work"]
    assert {"codoperf.function.duration", "process.cpu.time"} <= metric_names(tmp_path / "out")
    assert resources(tmp_path / "out")[0]["service.name"] == "shop"
    assert resources(tmp_path / "out")[0]["service.instance.id"]
    assert resources(tmp_path / "out") == resources(tmp_path / "out", "metrics")


def test_resource_says_which_process_it_was(tmp_path):
    """Process id, runtime and host; the variable takes precedence."""
    script = "codoperf_otel.configure(file=sys.argv[1]); work(); import os; print(os.getpid())"
    pid = ok(script, tmp_path, OTEL_RESOURCE_ATTRIBUTES="process.runtime.name=theirs")
    (found,) = resources(tmp_path)
    assert found["process.pid"] == pid.strip()
    assert found["process.runtime.name"] == "theirs"
    assert found["process.runtime.version"] == platform.python_version()
    assert found["host.name"] == platform.node()


def test_file_alone_loads_no_exporter(tmp_path):
    """Neither grpc nor protobuf is imported for a file."""
    loaded = ok("codoperf_otel.configure(file=sys.argv[1]); work(); print(*sys.modules)", tmp_path)
    assert not {"grpc", "google.protobuf", "requests"} & set(loaded.split())


@pytest.mark.parametrize(
    ("call", "variables", "expected"),
    [
        ("'argument', ", {"OTEL_SERVICE_NAME": "variable"}, "argument"),
        ("", {"OTEL_SERVICE_NAME": "variable"}, "variable"),
        ("", {"OTEL_RESOURCE_ATTRIBUTES": "service.name=attribute"}, "attribute"),
    ],
)
def test_service_name_argument_goes_before_the_variables(tmp_path, call, variables, expected):
    """The other resource attributes stay."""
    variables["OTEL_RESOURCE_ATTRIBUTES"] = variables.get("OTEL_RESOURCE_ATTRIBUTES", "a=b") + ",team=blue"
    ok(f"codoperf_otel.configure({call}file=sys.argv[1]); work()", tmp_path, **variables)
    assert resources(tmp_path)[0]["service.name"] == expected
    assert resources(tmp_path)[0]["team"] == "blue"


def test_service_is_called_like_the_script(tmp_path):
    """Where nothing names the service, the script does; a package that is run, by its own name."""
    program = (
        "import codoperf_otel, sys\ncodoperf_otel.configure(file=sys.argv[1])\n"
        "with codoperf_otel.performance_context('x'): pass"
    )
    for script in ("billing.py", "billing/__main__.py"):
        (tmp_path / script).parent.mkdir(exist_ok=True)
        (tmp_path / script).write_text(program)
        subprocess.run([sys.executable, tmp_path / script, tmp_path / "out"], check=True, timeout=60)
    assert [resource["service.name"] for resource in resources(tmp_path / "out")] == ["billing", "billing"]


def test_endpoint_receives_both_signals(collector):
    """Over HTTP each signal goes to its own path, compressed if a variable says so."""
    ok(
        "codoperf_otel.configure('shop', endpoint=sys.argv[1]); work()",
        collector.url,
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
    )
    bodies = {path: body for path, _, body in collector.received}
    spans = ExportTraceServiceRequest.FromString(bodies["/v1/traces"])
    assert [span.name for span in spans.resource_spans[0].scope_spans[0].spans] == ["work"]
    metrics = ExportMetricsServiceRequest.FromString(bodies["/v1/metrics"])
    names = {metric.name for metric in metrics.resource_metrics[0].scope_metrics[0].metrics}
    assert "codoperf.function.duration" in names


def test_headers_and_compression_come_from_variables(collector):
    """The exporters' own variables hold."""
    ok(
        "codoperf_otel.configure(endpoint=sys.argv[1]); work()",
        collector.url,
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
        OTEL_EXPORTER_OTLP_HEADERS="api-key=x",
        OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
    )
    assert {(h["api-key"], h["Content-Encoding"]) for _, h, _ in collector.received} == {("x", "gzip")}


def test_console_prints():
    """The console exporter is chosen by its variable."""
    printed = ok(
        "codoperf_otel.configure(); work()", OTEL_TRACES_EXPORTER="console", OTEL_METRICS_EXPORTER="none"
    )
    assert '"name": "work"' in printed


def test_sampler_variable_holds(tmp_path):
    """The SDK's own handling of its variables is left alone."""
    ok("codoperf_otel.configure(file=sys.argv[1]); work()", tmp_path, OTEL_TRACES_SAMPLER="always_off")
    assert span_names(tmp_path) == []
    assert "codoperf.function.duration" in metric_names(tmp_path)


def test_metric_export_interval_is_in_seconds(tmp_path):
    """A short interval exports before the end."""
    ok(
        "import pathlib, time\n"
        "codoperf_otel.configure(file=sys.argv[1], metric_export_interval=0.05); work()\n"
        "path = pathlib.Path(sys.argv[1], 'metrics.jsonl')\n"
        "while not path.exists() or path.read_text().count('\\n') < 3: time.sleep(0.01)",
        tmp_path,
    )


@pytest.mark.parametrize("lean", ["true", "false"])
def test_the_last_collection_may_take_longer_than_the_interval(tmp_path, lean):
    """What was counted since the one before is sent, however busy the machine is."""
    ok(
        "import time\n"
        "from opentelemetry import metrics\n"
        "handle = codoperf_otel.configure(file=sys.argv[1], metric_export_interval=0.02)\n"
        "slow = [lambda _: time.sleep(0.05) or ()]\n"
        "metrics.get_meter('slow').create_observable_gauge('slow', slow)\n"
        "work(); handle.shutdown()",
        tmp_path,
        CODOPERF_OTEL_LEAN_METRICS=lean,
    )
    assert "codoperf.function.cpu.time" in metric_names(tmp_path)


def test_force_flush_after_shutdown_does_nothing(tmp_path):
    """There is nothing left to send: True, and no word."""
    done = run(
        "h = codoperf_otel.configure(file=sys.argv[1]); work(); h.shutdown(); work(); print(h.force_flush())",
        tmp_path,
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_force_flush_writes_what_there_is(tmp_path):
    """It is True once all is written, and the program may go on."""
    printed = ok(
        "h = codoperf_otel.configure(file=sys.argv[1]); work(); print(h.force_flush())\n"
        "import pathlib; print('work' in pathlib.Path(sys.argv[1], 'traces.jsonl').read_text())",
        tmp_path,
    )
    assert printed.split() == ["True", "True"]


def test_with_block_and_shutdown_end_it(tmp_path):
    """After the block, or `codoperf_otel.shutdown()`, everything is in the files."""
    program = (
        "import os\nwith codoperf_otel.configure(file=sys.argv[1] + '/a'): work()\n"
        "codoperf_otel.configure(file=sys.argv[1] + '/b'); work(); codoperf_otel.shutdown(); os._exit(0)"
    )
    ok(program, tmp_path)
    assert span_names(tmp_path / "a") == ["work"]
    assert span_names(tmp_path / "b") == ["work"]
    assert "codoperf.function.duration" in metric_names(tmp_path / "b")


def test_second_call_doubles_nothing(tmp_path):
    """It returns the first call's handle, and names the arguments that differ, without a password."""
    done = run(
        "h = codoperf_otel.configure(file=sys.argv[1])\n"
        "assert codoperf_otel.configure(file=sys.argv[1]) is h\n"
        "print('quiet', file=sys.stderr)\n"
        "assert codoperf_otel.configure(file=sys.argv[1], endpoint='http://me:secret@c', logs=True) is h\n"
        "work()",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert span_names(tmp_path) == ["work"]
    first, warning = done.stderr.splitlines()
    assert first == "quiet"
    assert warning == (
        "configure() was called before, and the first call's arguments hold:"
        " endpoint is None, not 'http://***@c', logs is False, not True"
    )


def test_second_call_after_a_shutdown_begins_anew(tmp_path):
    """Its handle flushes what it set up, and the first one's files are left alone."""
    ok(
        "from os.path import getsize\n"
        "for folder in sys.argv[1:]:\n"
        "    with codoperf_otel.configure(file=folder) as handle:\n"
        "        work()\n"
        "        assert handle.force_flush() and getsize(folder + '/traces.jsonl')",
        tmp_path / "one",
        tmp_path / "two",
    )
    assert span_names(tmp_path / "one") == span_names(tmp_path / "two") == ["work"]


def test_disabled_sdk_sets_nothing_up(tmp_path):
    """With OTEL_SDK_DISABLED the handle does nothing, no file is made and the SDK is not imported."""
    printed = ok(
        "h = codoperf_otel.configure(file=sys.argv[1]); work()\n"
        "print(h.force_flush(), h.failures); h.shutdown()\n"
        "print(type(trace.get_tracer_provider()).__name__, 'opentelemetry.sdk' in sys.modules)",
        tmp_path / "out",
        OTEL_SDK_DISABLED="true",
    )
    assert printed.splitlines() == ["True {}", "ProxyTracerProvider False"]
    assert not (tmp_path / "out").exists()


def test_disabled_providers_are_not_asked_for_anything():
    """With OTEL_SDK_DISABLED a call runs no code of providers that the program sets up; it is counted."""
    printed = ok(
        "from opentelemetry.sdk.metrics import MeterProvider\n"
        "from opentelemetry.sdk.trace import TracerProvider\n"
        "work()\n"
        "trace.set_tracer_provider(TracerProvider()); metrics.set_meter_provider(MeterProvider())\n"
        "codoperf_otel.configure(); work()\n"
        "run = set()\n"
        "sys.setprofile(lambda frame, *_: run.add(frame.f_globals['__name__']))\n"
        "work()\n"
        "sys.setprofile(None)\n"
        "print('codoperf_otel._calls.recording' in run, [name for name in run if 'opentelemetry' in name])\n"
        "print(codoperf_otel.get_performance_stats('work')['total_calls'])",
        OTEL_SDK_DISABLED="true",
    )
    assert printed.splitlines() == ["True []", "3"]


@pytest.mark.parametrize(
    "call", ["endpoint='x'", "shutdown_timeout=-1", "file='/proc/nowhere'", "file='/dev/null/x'"]
)
def test_wrong_setting_leaves_nothing_global(call):
    """The error comes before a provider is set, so the call can be made again."""
    printed = ok(
        f"try: codoperf_otel.configure({call})\nexcept ValueError as error: print(error)\n"
        "print(type(trace.get_tracer_provider()).__name__, type(metrics.get_meter_provider()).__name__)"
    )
    error, providers = printed.splitlines()
    assert error.startswith(call.split("=")[0] + " is ")
    assert providers == "ProxyTracerProvider _ProxyMeterProvider"


WRONG_VARIABLES = """
import os
from codoperf_otel import _environment_variables
for name in sorted(vars(_environment_variables)):
    variable = getattr(_environment_variables, name)
    free = ("AGENT", "LIVE_DIR", "SPOOL_DIR")  # any name will do
    if not str(variable).startswith("CODOPERF_OTEL_") or name in free:
        continue
    os.environ[variable] = "a b!"
    try: {begin}
    except ValueError as error: print(error)
    del os.environ[variable]
"""
TRUTH, NUMBER, PATTERNS = "true or false", "a number above 0", "a dotted name such as 'package.*'"
WRONG = {
    "CODOPERF_OTEL_ALLOW_PLAINTEXT_CREDENTIALS": TRUTH,
    "CODOPERF_OTEL_CACHE_DISK": TRUTH,
    "CODOPERF_OTEL_CLEAR_REFS": TRUTH,
    "CODOPERF_OTEL_ENABLED": TRUTH,
    "CODOPERF_OTEL_EXCLUDE": PATTERNS,
    "CODOPERF_OTEL_LEAN_METRICS": TRUTH,
    "CODOPERF_OTEL_LEAN_SPANS": TRUTH,
    "CODOPERF_OTEL_MAX_SPANS_PER_SECOND": NUMBER,
    "CODOPERF_OTEL_MIN_SPAN_DURATION": NUMBER,
    "CODOPERF_OTEL_MONITOR": PATTERNS,
    "CODOPERF_OTEL_REDACT": "names of attributes such as 'enduser.id' or '*password*'",
    "CODOPERF_OTEL_SPOOL_AGE": NUMBER,
    "CODOPERF_OTEL_SPOOL_SIZE": NUMBER,
}


@pytest.mark.parametrize(
    "begin",
    [
        "codoperf_otel.configure()",
        "codoperf_otel.instrument()",
        "codoperf_otel.CodoperfInstrumentor().instrument(monitor='shop.*')",
    ],
)
def test_each_wrong_variable_of_this_package_is_one_error_at_the_start(begin):
    """Also one that is read later: each is named with its value and what is allowed."""
    lines = ok(WRONG_VARIABLES.format(begin=begin)).splitlines()
    expected = [f"{variable} is 'a b!': it must be {allowed}" for variable, allowed in WRONG.items()]
    assert [line.partition(",")[0] for line in lines] == expected


def test_a_misspelt_variable_is_one_warning_with_the_nearest_name(monkeypatch, caplog):
    """It is named once, whatever its value; a variable that resembles none is somebody else's."""
    monkeypatch.setenv("CODOPERF_OTEL_LEAN_SPAN", "secret")
    monkeypatch.setenv("CODOPERF_OTEL_OTHER", "x")
    for _ in range(2):
        check_all()
    assert caplog.messages == ["CODOPERF_OTEL_LEAN_SPAN is not known: did you mean CODOPERF_OTEL_LEAN_SPANS?"]


def test_wrong_variable_counts_where_the_sdk_is_disabled():
    """Decorators heed the variables all the same."""
    done = run("codoperf_otel.configure()", OTEL_SDK_DISABLED="true", CODOPERF_OTEL_LEAN_SPANS="maybe")
    assert "ValueError: CODOPERF_OTEL_LEAN_SPANS is 'maybe'" in done.stderr


@pytest.mark.parametrize("missing", ["opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.grpc", "grpc"])
def test_missing_package_says_how_to_install_it(missing):
    """Without SDK or exporter, `configure` is one ImportError with the line to type."""
    printed = ok(
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {missing!r} or name.startswith({missing!r} + '.'):\n"
        "            raise ModuleNotFoundError(f'no {name}', name=name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "try: codoperf_otel.configure()\nexcept ImportError as error: print(error)"
    )
    assert missing in printed
    assert "pip install 'codoperf-otel[otlp]'" in printed


# providers that are there already

FOREIGN = """
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
resource = Resource({"service.name": "theirs"})
trace.set_tracer_provider(TracerProvider(resource=resource))
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))
metrics.set_meter_provider(MeterProvider([reader], resource=resource))
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
"""


def test_foreign_providers_get_only_what_arguments_ask_for(tmp_path):
    """A file is added to them; their resource, and what variables would ask for, is left alone."""
    done = run(
        FOREIGN + "h = codoperf_otel.configure('mine', file=sys.argv[1]); work(); print(h.failures.keys())\n"
        "print([span.name for span in exporter.get_finished_spans()])\n"
        "print('codoperf.function.duration' in reader.get_metrics_data().to_json())",
        tmp_path,
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1",
        OTEL_TRACES_EXPORTER="console,otlp",
    )
    assert done.returncode == 0, done.stderr
    labels, *theirs = done.stdout.splitlines()
    assert theirs == ["['work']", "True"]
    assert "127.0.0.1" not in labels
    assert span_names(tmp_path) == ["work"]
    assert resources(tmp_path)[0]["service.name"] == "theirs"
    lines = done.stderr.splitlines()
    assert [
        line for line in lines if line.startswith("INFO codoperf_otel.sdk A global provider is set already")
    ]
    if TAKES_READERS:
        assert "codoperf.function.duration" in metric_names(tmp_path)
        assert len(lines) == 1
    else:
        assert len(lines) == 2
        assert "WARNING codoperf_otel.sdk A provider of metrics is set already" in done.stderr
        assert "opentelemetry-sdk 1.43" in done.stderr


def test_foreign_providers_get_nothing_without_arguments():
    """Variables alone add no exporter to someone else's providers."""
    printed = ok(
        FOREIGN.replace("INFO", "WARNING") + "print(codoperf_otel.configure().failures); work()\n"
        "print([span.name for span in exporter.get_finished_spans()])"
    )
    assert printed.splitlines() == ["{}", "['work']"]


def test_provider_that_takes_no_processors_is_one_warning(tmp_path):
    """A global provider that is not the SDK's stays as it is."""
    done = run(
        "trace.set_tracer_provider(trace.NoOpTracerProvider())\n"
        "codoperf_otel.configure(file=sys.argv[1]); work()",
        tmp_path,
    )
    assert done.returncode == 0
    assert "A provider of traces is set already" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "codoperf.function.duration" in metric_names(tmp_path)
