"""`configure` under OTEL_CONFIG_FILE: the file's providers, what arguments add, what is wrong with a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

TRACES = """
tracer_provider:
  processors:
    - {processor}:
        exporter:
          console:
"""
METRICS = """
meter_provider:
  readers:
    - periodic:
        exporter:
          console:
"""
LOGS = """
logger_provider:
  processors:
    - batch:
        exporter:
          console:
"""
REFUSED = """
tracer_provider:
  processors:
    - batch:
        exporter:
          otlp_http:
            endpoint: http://127.0.0.1:1/v1/traces
"""
SIMPLE, BATCH = TRACES.format(processor="simple"), TRACES.format(processor="batch")
RESOURCE = """
resource:
  attributes:
    - name: service.name
      value: declared
"""

START = """
import logging, sys
import codoperf_otel
from opentelemetry import metrics, trace

@codoperf_otel.monitor_performance("work")
def work():
    pass
"""


@pytest.fixture
def program(tmp_path):
    """Runs a program in a fresh interpreter, after START, with a configuration file of these sections."""

    def run(text, *sections, command=("-c",), **variables):
        file = tmp_path / "configuration.yaml"
        file.write_text("\n".join(['file_format: "1.0"', RESOURCE, *sections]))
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("OTEL_", "CODOPERF_"))}
        return subprocess.run(
            [sys.executable, "-W", "error", *command, START + text],
            env={**kept, "OTEL_CONFIG_FILE": str(file), **variables},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def ok(program):
    """The same, for a program that ends well and has nothing to complain of: what it printed."""

    def run(*args, **variables):
        done = program(*args, **variables)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    return run


def printed(output):
    """The JSON objects and the words that a program printed, in their order."""
    found, rest = [], output.lstrip()
    while rest:
        if rest[0] == "{":
            value, end = json.JSONDecoder().raw_decode(rest)
        else:
            value, end = rest.split()[0], len(rest.split()[0])
        found.append(value)
        rest = rest[end:].lstrip()
    return found


def names(items):
    """What is left of printed items: the names of spans and metrics, the bodies of log records, words."""
    for item in items:
        if isinstance(item, str):
            yield item
        elif "resource_metrics" in item:
            scopes = [scope for group in item["resource_metrics"] for scope in group["scope_metrics"]]
            yield {metric["name"] for scope in scopes for metric in scope["metrics"]}
        else:
            yield item.get("name") or item["body"]


def lines(folder, signal):
    """The parsed lines of a file that `configure` wrote."""
    return [json.loads(line) for line in (Path(folder) / f"{signal}.jsonl").read_text().splitlines()]


def test_providers_are_as_the_file_says(ok):
    """Spans, metrics and the readings of the process go where the file says, from the resource it gives."""
    found = printed(ok("with codoperf_otel.configure('mine'): work()", SIMPLE, METRICS))
    span, metric_names = names(found)
    assert span == "work"
    assert {"codoperf.function.duration", "process.memory.usage", "cpython.gc.collections"} <= metric_names
    assert found[0]["resource"]["attributes"]["service.name"] == "declared"


@pytest.mark.parametrize(("variable", "kind"), [("", "LeanSpan"), ("true", "LeanSpan"), ("false", "_Span")])
def test_spans_are_lean_unless_switched_off(ok, variable, kind):
    """The switch holds for the file's providers as for those of `configure`."""
    text = (
        "codoperf_otel.configure()\n"
        "with codoperf_otel.performance_context('op'): print(type(trace.get_current_span()).__name__)"
    )
    assert printed(ok(text, SIMPLE, CODOPERF_OTEL_LEAN_SPANS=variable))[0] == kind


def test_durations_are_recorded_in_the_files_histograms(ok):
    """Its readers are not this package's, so that nothing is kept for them."""
    text = (
        "from codoperf_otel import _telemetry\n"
        "codoperf_otel.configure()\n"
        "instruments = _telemetry.active().instruments\n"
        "print(instruments.records_durations, instruments.keeps_durations)"
    )
    assert printed(ok(text, METRICS))[:2] == ["True", "False"]


def test_other_variables_do_not_count(ok):
    """Where the file says all, not even a wrong variable matters."""
    output = ok(
        "codoperf_otel.configure(); work()",
        SIMPLE,
        OTEL_TRACES_EXPORTER="nonsense",
        OTEL_EXPORTER_OTLP_ENDPOINT="nonsense://",
        OTEL_METRICS_EXPORTER="console",
    )
    assert list(names(printed(output))) == ["work"]


@pytest.mark.parametrize("sections", [[BATCH, METRICS], [METRICS], [BATCH], []])
def test_arguments_add_to_the_file(ok, tmp_path, sections):
    """`file=` gets both signals, also one that the configuration file leaves out; variables add none."""
    ok(
        "with codoperf_otel.configure(file='out'): work()",
        *sections,
        OTEL_TRACES_EXPORTER="console,otlp",
    )
    (traces,), (measured,) = (lines(tmp_path / "out", signal) for signal in ("traces", "metrics"))
    ((scope,),) = ((s for s in group["scopeSpans"]) for group in traces["resourceSpans"])
    assert [span["name"] for span in scope["spans"]] == ["work"]
    assert "codoperf.function.duration" in json.dumps(measured)
    if BATCH in sections:
        assert {"key": "service.name", "value": {"stringValue": "declared"}} in traces["resourceSpans"][0][
            "resource"
        ]["attributes"]


def test_a_wrong_variable_is_told_where_an_argument_needs_it(program):
    """What `endpoint=` adds heeds the OTLP variables."""
    done = program(
        "codoperf_otel.configure(endpoint='http://localhost:4318')",
        SIMPLE,
        OTEL_EXPORTER_OTLP_COMPRESSION="zip",
    )
    assert "ValueError: OTEL_EXPORTER_OTLP_COMPRESSION is 'zip'" in done.stderr


@pytest.mark.parametrize(
    ("argument", "variables", "shown"),
    [
        ("redact='password'", {}, "redact is 'password'"),
        ("", {"CODOPERF_OTEL_REDACT": "*token*"}, "CODOPERF_OTEL_REDACT is '*token*'"),
    ],
)
def test_what_the_files_exporters_would_not_hide_is_refused(program, argument, variables, shown):
    """They are the SDK's: nothing is sent in the clear that was to be redacted."""
    done = program(f"codoperf_otel.configure({argument}); work()", SIMPLE, **variables)
    assert f"ValueError: {shown}: it must be left out with OTEL_CONFIG_FILE" in done.stderr
    assert done.stdout == ""


def test_the_handle_flushes_and_ends_all_three_providers(ok):
    """What batches hold is sent by `force_flush`, and by the end of the block."""
    text = """
from opentelemetry._logs import LogRecord, get_logger_provider
with codoperf_otel.configure() as handle:
    work()
    get_logger_provider().get_logger("mine").emit(LogRecord(body="first"))
    assert handle.force_flush()
    print("flushed")
    work()
    get_logger_provider().get_logger("mine").emit(LogRecord(body="second"))
print("ended")
work()
"""
    found = list(names(printed(ok(text, BATCH, METRICS, LOGS))))
    before, after = found[: found.index("flushed")], found[found.index("flushed") + 1 :]
    assert {n for n in before if isinstance(n, str)} == {"work", "first"}
    assert {n for n in after if isinstance(n, str)} == {"work", "second", "ended"}
    assert after[-1] == "ended"
    assert [type(n) for n in found].count(set) == 2


def test_log_records_go_where_the_file_says(ok):
    """With `logs=True` the program's records reach the file's logger provider, each once."""
    text = """
logging.getLogger("shop").setLevel(logging.INFO)
with codoperf_otel.configure(logs=True):
    logging.getLogger("shop").info("sold out")
"""
    records = printed(ok(text, LOGS))
    assert [record["body"] for record in records] == ["sold out"]


def test_the_end_waits_no_longer_than_it_may(program):
    """An endpoint that refuses does not hold the program up past `shutdown_timeout`."""
    done = program(
        "import time\ncodoperf_otel.configure(shutdown_timeout=0.2); work(); print(time.time())", REFUSED
    )
    assert done.returncode == 0, done.stderr
    assert time.time() - float(done.stdout) < 10  # the SDK alone takes 13 s and more


@needs_fork
def test_a_forked_child_sends_its_own_spans(program):
    """Each span leaves once, from the process that made it."""
    text = """
import os
codoperf_otel.configure()
work()
pid = os.fork()
with codoperf_otel.performance_context("child" if pid == 0 else "parent"):
    pass
if pid:
    assert os.waitpid(pid, 0)[1] == 0
"""
    done = program(text, BATCH, command=("-W", "ignore::DeprecationWarning", "-c"))
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(names(printed(done.stdout))) == ["child", "parent", "work"]


def test_a_second_call_gives_the_same_handle(ok):
    """The file is applied once."""
    assert ok("print(codoperf_otel.configure() is codoperf_otel.configure())", SIMPLE) == "True\n"


def test_providers_that_are_there_stay(ok):
    """Under `opentelemetry-instrument` the file was applied already; nothing is set over it."""
    text = """
from opentelemetry.sdk.trace import TracerProvider
theirs = TracerProvider()
trace.set_tracer_provider(theirs)
codoperf_otel.configure(); work()
print(trace.get_tracer_provider() is theirs)
"""
    assert ok(text, SIMPLE) == "True\n"


def test_a_file_that_disables_the_sdk(program, tmp_path):
    """Nothing is set up, not even what arguments ask for; OpenTelemetry says so in a line."""
    done = program(
        "with codoperf_otel.configure(file='out') as handle: work()\n"
        "print(type(trace.get_tracer_provider()).__name__, handle.is_running)\n"
        "print(codoperf_otel.get_performance_stats('work')['total_calls'])",
        SIMPLE,
        "disabled: true",
    )
    assert (done.returncode, done.stdout) == (0, "ProxyTracerProvider False\n1\n")
    assert done.stderr.splitlines() == ["Declarative configuration has disabled=true; skipping SDK setup."]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", ["nothing.yaml", "nothing"])
def test_disabled_by_the_variable_reads_no_file(ok, value):
    """OTEL_SDK_DISABLED=true goes before the file, be it there or not."""
    assert ok("codoperf_otel.configure()", OTEL_SDK_DISABLED="true", OTEL_CONFIG_FILE=value) == ""


def test_an_empty_variable_is_none(ok):
    """As with OpenTelemetry's other variables."""
    text = "codoperf_otel.configure(file='out'); print(type(trace.get_tracer_provider()).__name__)"
    assert ok(text, OTEL_CONFIG_FILE=" ") == "OurTracerProvider\n"


def test_without_the_package_one_error_names_it(ok):
    """It says what is missing and how to install it; nothing is set up."""
    text = """
sys.modules["opentelemetry.configuration"] = None
try: codoperf_otel.configure()
except ImportError as error: print(error)
print(type(trace.get_tracer_provider()).__name__)
"""
    message, provider = ok(text, SIMPLE).splitlines()
    assert message.startswith("OTEL_CONFIG_FILE is '")
    assert "pip install opentelemetry-configuration" in message
    assert provider == "ProxyTracerProvider"


def test_a_missing_exporter_is_named(ok):
    """What the file asks for and is not installed is an ImportError that says how to install it."""
    text = """
sys.modules["opentelemetry.exporter.otlp.proto.http"] = None
try: codoperf_otel.configure()
except ImportError as error: print(error)
"""
    message = ok(text, REFUSED)
    assert message.startswith("OTEL_CONFIG_FILE is '")
    assert "pip install opentelemetry-exporter-otlp-proto-http" in message


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("nothing.yaml", None, "not found"),
        (".", None, "not a file"),
        ("wrong.toml", "", "Unsupported file format: .toml"),
        ("wrong.yaml", "", "empty"),
        ("wrong.yaml", "a: [", "Failed to parse YAML: while parsing a flow node expected"),
        ("wrong.json", "{", "Failed to parse JSON"),
        ("wrong.yaml", "file_format: '1.0'\ntracer_provider: 3", "3 is not of type 'object'"),
        ("wrong.yaml", "file_format: '9.0'", "Unsupported file_format '9.0'"),
        (
            "wrong.yaml",
            "file_format: '1.0'" + SIMPLE.replace("console", "mine"),
            "Plugin 'mine' not found",
        ),
        (
            "wrong.yaml",
            "file_format: '1.0'\nmeter_provider:\n  readers:\n  - periodic:\n      interval: 0\n"
            "      exporter:\n        console:",
            "interval",
        ),
    ],
)
def test_a_wrong_file_is_one_error(program, tmp_path, name, text, reason):
    """It names the variable, its value, what is allowed and what is wrong."""
    if text is not None:
        (tmp_path / name).write_text(text)
    done = program(
        "try: codoperf_otel.configure()\nexcept ValueError as error: print(error)", OTEL_CONFIG_FILE=name
    )
    assert done.returncode == 0, done.stderr
    (message,) = done.stdout.splitlines()
    assert message.startswith(f"OTEL_CONFIG_FILE is '{name}': it must be the path of a .yaml, .yml or .json")
    assert reason in message


INSTRUMENTATION = """
instrumentation/development:
  python:
    codoperf_otel:
      monitor: {monitor}
      exclude: ["*.tax"]
"""
GOODS = "def price(): return 1\ndef tax(): return 2\ndef total(): return price() + tax()\n"


def test_patterns_of_the_file(ok, tmp_path):
    """The file's section of this package says what is monitored."""
    (tmp_path / "goods.py").write_text(GOODS)
    text = "sys.path.append('.'); codoperf_otel.configure(); import goods; goods.total()"
    output = ok(
        text, SIMPLE, INSTRUMENTATION.format(monitor="['goods.*']"), CODOPERF_OTEL_MONITOR="goods.tax"
    )
    assert list(names(printed(output))) == ["goods.price", "goods.total"]


@pytest.mark.parametrize(
    ("monitor", "message"), [("['a/b']", "monitor is 'a/b': it must be"), ("['a']\n      more: 1", "'more'")]
)
def test_a_wrong_pattern_of_the_file_is_logged(program, monitor, message):
    """OpenTelemetry logs what an instrumentation refuses; the providers are set up."""
    done = program("codoperf_otel.configure(); work()", SIMPLE, INSTRUMENTATION.format(monitor=monitor))
    assert list(names(printed(done.stdout))) == ["work"]
    assert "Failed to instrument 'codoperf_otel' via declarative config" in done.stderr


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], ["goods.price", "goods.total"]),
        (["--monitor", "goods.tax"], ["goods.tax"]),
        (["--exclude", "*.price"], ["__main__.main"]),
    ],
)
def test_codoperf_run(tmp_path, options, expected):
    """The file sets up the providers and says what is monitored, unless options do."""
    (tmp_path / "goods.py").write_text(GOODS)
    (tmp_path / "shop.py").write_text("import goods\ndef main(): goods.total()\nmain()\n")
    (tmp_path / "c.yaml").write_text(
        'file_format: "1.0"' + SIMPLE + INSTRUMENTATION.format(monitor="['goods.*']")
    )
    done = run_shop(tmp_path, *options, OTEL_CONFIG_FILE="c.yaml")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert list(names(printed(done.stdout))) == expected


def test_codoperf_run_with_a_wrong_file(tmp_path):
    """The last line says what is wrong, the status is 2, and the program does not run."""
    (tmp_path / "shop.py").write_text("print('ran')")
    done = run_shop(tmp_path, OTEL_CONFIG_FILE="nothing.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith("codoperf: OTEL_CONFIG_FILE is 'nothing.yaml': it must be")


def run_shop(folder, *options, **variables):
    """``codoperf run shop.py``."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("OTEL_", "CODOPERF_"))}
    return subprocess.run(
        [sys.executable, "-m", "codoperf_otel.cli", "run", *options, "shop.py"],
        env={**kept, **variables},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "not declared"])
def test_log_records_go_where_the_file_and_the_arguments_say(ok, tmp_path, declared):
    """With logs=True records go through the file's logger provider, where it has one, and to file=."""
    output = ok(
        """
with codoperf_otel.configure(logs=True, file="telemetry"):
    logging.getLogger("app").addHandler(logging.NullHandler())
    logging.getLogger("app").warning("one")
""",
        BATCH,
        *([LOGS] if declared else []),
    )
    assert list(names(printed(output))) == (["one"] if declared else [])
    (line,) = lines(tmp_path / "telemetry", "logs")
    (record,) = line["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    assert record["body"] == {"stringValue": "one"}
