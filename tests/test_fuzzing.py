"""What is not trusted may be anything: each parser takes it or refuses it, in one way, soon, and alone.

A twentieth of the inputs is run, always the same. ``make soak`` runs all of them, and others each time;
``CODOPERF_OTEL_TEST_SCALE=10`` runs ten times as many. What repeats a failure is printed.
"""

from __future__ import annotations

import ast
import asyncio
import copy
import io
import json
import os
import random
import re
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, chdir, contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scaling import SHARE, scaled

from codoperf_otel import CacheManager
from codoperf_otel import _environment_variables as variables
from codoperf_otel._calls.carrier import extract
from codoperf_otel._imports.costs import Import
from codoperf_otel._imports.moving import move
from codoperf_otel._imports.sources import sources
from codoperf_otel._report.files import UnreadableError
from codoperf_otel._zero_code.patterns import Patterns
from codoperf_otel.cli import main
from codoperf_otel.cli._errors import CommandError
from codoperf_otel.cli.view import view
from codoperf_otel.sdk.endpoints import otlp
from codoperf_otel.sdk.errors import Destination
from codoperf_otel.sdk.redact_setting import redact_setting
from codoperf_otel.sdk.redaction import MARKER, Redaction
from codoperf_otel.sdk.settings import Arguments, resolve
from codoperf_otel.sdk.standard_variables import Variables

pytestmark = pytest.mark.once

SECRET = "hunter2hunter2"


def inputs(full):
    """Try so many inputs at full scale, and other ones each time there."""
    return settings(
        max_examples=scaled(full),
        derandomize=SHARE < 1,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


@contextmanager
def soon() -> Iterator[None]:
    """At most a second of this thread's CPU time: a machine that has other work may take longer."""
    began = time.thread_time()
    yield
    assert time.thread_time() - began < 1


@contextmanager
def folder() -> Iterator[Path]:
    """A folder within another one, in which nothing else may be made or changed."""
    with tempfile.TemporaryDirectory() as name:
        around = Path(name)
        (around / "bystander").write_bytes(b"as it was")
        inside = around / "inside"
        inside.mkdir(mode=0o700)
        yield inside
        assert {path.name for path in around.iterdir()} <= {"bystander", "inside"}
        assert (around / "bystander").read_bytes() == b"as it was"


def command(*arguments):
    """The exit status of the command, and what it printed. It raises nothing but argparse's end."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), soon():
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as end:
            status = end.code
    return status, out.getvalue(), err.getvalue()


def refused(call):
    """What it returns, and the text of its error: one of the two."""
    with soon():
        try:
            return call(), ""
        except ValueError as error:
            return None, str(error)


def mutated(data, chance, changes):
    """Bytes with some of them changed, left out, doubled, moved, or cut off."""
    changed = bytearray(data)
    for _ in range(changes):
        at = chance.randrange(len(changed) + 1)
        length = chance.choice((1, 1, 2, 8, 64))
        match chance.randrange(6):
            case 0:
                changed[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del changed[at : at + length]
            case 2:
                changed[at:at] = changed[at : at + length] * chance.choice((1, 2, 9))
            case 3:
                changed[at:at] = chance.randbytes(length)
            case 4:
                source = chance.randrange(len(changed) + 1)
                changed[at:at] = changed[source : source + length]
            case 5:
                if chance.randrange(4) == 0:
                    del changed[at:]
    return bytes(changed)


CHANCE = st.integers(0, 2**64).map(random.Random)
HOSTILE = st.sampled_from(
    [
        "",
        "\0",
        "\x1b[2J",
        "\r\n",
        "\ud83d",
        "\N{MATHEMATICAL DOUBLE-STRUCK DIGIT ONE}",
        "9" * 400,
        "-1",
        "1e999",
        "nan",
        "=",
        ",",
        "@",
        "%",
        "[",
        "\u202e",
    ]
)
TEXTS = st.one_of(
    st.text(), HOSTILE, st.lists(st.one_of(st.text(max_size=8), HOSTILE), max_size=6).map("".join)
)
# what an operating system lets a variable hold
VALUES = TEXTS.map(lambda text: os.fsdecode(text.encode("utf-8", "replace")).replace("\0", ""))
ANY_JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(),
        TEXTS,
        st.sampled_from([10**400, "1" * 5000, "0x10", "AAAAAAAAAAA=", "ab" * 16, 2, "2"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)


# telemetry files


def attribute(key, **value):
    return {"key": key, "value": value}


SPAN = {
    "traceId": "0af7651916cd43dd8448eb211c80319c",
    "spanId": "b7ad6b7169203331",
    "parentSpanId": "",
    "name": "plan",
    "startTimeUnixNano": "1000000000",
    "endTimeUnixNano": "3000000000",
    "attributes": [
        attribute("gen_ai.operation.name", stringValue="invoke_agent"),
        attribute("gen_ai.agent.name", stringValue="planner"),
        attribute("codoperf.cpu.time", doubleValue=0.5),
        attribute("codoperf.cpu.self_time", doubleValue=0.25),
        attribute("codoperf.memory.peak", intValue="1048576"),
    ],
    "events": [
        {
            "name": "codoperf.lazy_load",
            "attributes": [
                attribute("codoperf.module.name", stringValue="numpy"),
                attribute("codoperf.lazy_load.duration", doubleValue=0.125),
            ],
        }
    ],
    "status": {"code": 2, "message": "failed"},
}
RESOURCE = {"attributes": [attribute("service.name", stringValue="fuzzed")]}
POINT = {
    "attributes": [
        attribute("codoperf.cache.name", stringValue="prices"),
        attribute("codoperf.cache.result", stringValue="hit"),
        attribute("codoperf.cache.tier", stringValue="memory"),
        attribute("gen_ai.agent.name", stringValue="planner"),
    ],
    "startTimeUnixNano": "1000000000",
    "timeUnixNano": "2000000000",
}
COUNTERS = (
    "codoperf.cache.lookups",
    "codoperf.cache.saved_time",
    "codoperf.telemetry.dropped",
    "process.cpu.time",
)
LINES = [
    {
        "resourceSpans": [
            {
                "resource": RESOURCE,
                "scopeSpans": [
                    {
                        "scope": {"name": "codoperf_otel"},
                        "spans": [
                            SPAN,
                            {**SPAN, "spanId": "c7ad6b7169203331", "parentSpanId": SPAN["spanId"]},
                        ],
                    }
                ],
            }
        ]
    },
    {
        "resourceMetrics": [
            {
                "resource": RESOURCE,
                "scopeMetrics": [
                    {
                        "scope": {"name": "codoperf_otel"},
                        "metrics": [
                            *(
                                {"name": name, "sum": {"dataPoints": [{**POINT, "asDouble": 2.5}]}}
                                for name in COUNTERS
                            ),
                            {
                                "name": "codoperf.function.duration",
                                "unit": "s",
                                "histogram": {
                                    "aggregationTemporality": 1,
                                    "dataPoints": [{**POINT, "count": "3", "sum": 2.5}] * 2,
                                },
                            },
                        ],
                    }
                ],
            }
        ]
    },
]


def places(node, path=()):
    """The paths to all nodes of a document."""
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


@st.composite
def documents(draw):
    """Lines of telemetry, of which some nodes are replaced by anything, doubled or left out."""
    lines = copy.deepcopy(LINES)
    chance = draw(CHANCE)
    for _ in range(draw(st.integers(0, 6))):
        *parents, key = chance.choice([path for path in places(lines) if path])
        holder = lines
        for step in parents:
            holder = holder[step]
        kind = chance.randrange(8)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, list):
            holder.insert(0, copy.deepcopy(holder[key]))
        else:
            holder[key] = draw(ANY_JSON)
    return "".join(f"{json.dumps(line)}\n" for line in lines).encode()


@st.composite
def files(draw):
    """The same, or bytes that may be no JSON at all."""
    data = draw(documents())
    return mutated(data, draw(CHANCE), draw(st.integers(0, 3))) if draw(st.booleans()) else data


def refuse_constant(name):
    raise AssertionError(f"{name} is no JSON")


@inputs(5_000)
@given(files())
def test_telemetry_files(data):
    """`codoperf view --json` is JSON for any document, and the report has no control characters."""
    with folder() as inside:
        path = inside / "traces.jsonl"
        path.write_bytes(data)
        out, _ = viewed(path, as_json=True)
        if out:
            json.loads(out, parse_constant=refuse_constant)
        out, err = viewed(path, width=80)
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", out + err)


def viewed(path, **options):
    """What the report shows, and what it says of lines that it leaves out."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), soon(), suppress(CommandError, UnreadableError):
        view(path, **options)
    return out.getvalue(), err.getvalue()


# tools of the MCP server


@inputs(1_000)
@given(
    st.sampled_from(["performance_stats", "slowest_operations", "agent_report", "cache_stats",
                     "resource_report",
                     "compare_benchmarks", "check_regression", "other"]),
    st.dictionaries(st.sampled_from(["operation", "limit", "by", "max_slowdown", "x"]), ANY_JSON, max_size=3),
    files(),
)  # fmt: skip
def test_tools_of_the_server(tool, arguments, data):
    """Any input has an answer in JSON, or one error that the client is told."""
    from mcp import Client

    from codoperf_otel.mcp.server import server

    async def ask(path):
        async with Client(server(path, path)) as client:
            sendable = json.dumps(arguments, ensure_ascii=False).encode("utf-8", "replace")
            return await client.call_tool(tool, json.loads(sendable))

    with folder() as inside:
        path = inside / "traces.jsonl"
        path.write_bytes(data)
        answer = asyncio.run(ask(path))
        json.loads(answer.model_dump_json(), parse_constant=refuse_constant)
        assert "Traceback" not in str(answer)


# the spool


@inputs(10_000)
@given(st.lists(st.binary(max_size=200), min_size=1, max_size=6), CHANCE, st.integers(0, 6))
def test_segments_of_the_spool(payloads, chance, changes):
    """What was damaged is passed over; what is sent was written so, and what is whole goes on after it."""
    from codoperf_otel.sdk.spool.delivery import Delivery
    from codoperf_otel.sdk.spool.folder import Folder
    from codoperf_otel.sdk.spool.records import encoded
    from codoperf_otel.sdk.spool.segments import Segment
    from codoperf_otel.sdk.spool.senders import Answer, Outcome

    sent = []

    def send(payload):
        sent.append(payload)
        return Answer(chance.choice((Outcome.DELIVERED, Outcome.DELIVERED, Outcome.REFUSED)))

    one_each = mock.patch("codoperf_otel.sdk.spool.delivery.MOST_BYTES", -1)
    not_waiting = mock.patch("codoperf_otel.sdk.spool.segments._synchronize")
    with folder() as inside, one_each, not_waiting, soon():
        segment = Segment.new(inside, "traces")
        for payload in payloads:
            segment.write(encoded(payload, 1))
        segment.close()
        path = segment.path
        path.write_bytes(mutated(path.read_bytes(), chance, changes))
        (inside / f"traces-{1:020d}-1-1.spool").symlink_to(inside.parent / "bystander")
        delivery = Delivery("traces", Destination("nowhere"), send)
        for orphan in Folder(inside, float("inf"), float("inf")).orphans("traces"):
            assert delivery.empty(orphan) is None
        assert not path.exists()
    assert set(sent) <= set(payloads)
    assert changes or len(sent) == len(payloads)


# settings


STANDARD = [
    f"OTEL_{name}"
    for name in (
        "EXPORTER_OTLP_ENDPOINT", "EXPORTER_OTLP_TRACES_ENDPOINT", "EXPORTER_OTLP_HEADERS",
        "EXPORTER_OTLP_METRICS_HEADERS", "EXPORTER_OTLP_PROTOCOL", "EXPORTER_OTLP_COMPRESSION",
        "EXPORTER_OTLP_TIMEOUT", "EXPORTER_OTLP_INSECURE", "TRACES_EXPORTER", "METRICS_EXPORTER",
        "LOGS_EXPORTER",
        "BSP_MAX_QUEUE_SIZE", "BSP_SCHEDULE_DELAY", "BLRP_MAX_EXPORT_BATCH_SIZE", "METRIC_EXPORT_INTERVAL",
        "EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
        "SDK_DISABLED",
    )
]  # fmt: skip


@inputs(10_000)
@given(st.sampled_from([*STANDARD, *variables.known()]), VALUES)
@example("CODOPERF_OTEL_SPOOL_DIR", "9" * 400)
def test_variables(name, value):
    """Each is right, or one error that names it; its value is shown unless it may be a secret."""
    with mock.patch.dict(os.environ, {name: value}, clear=True):
        _, error = refused(lambda: (variables.check_values(), resolve(Arguments(), os.environ)))
    assert not error or (error.startswith(f"{name} is ") and "it must be " in error)


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), TEXTS, st.binary(), st.lists(TEXTS, max_size=2),
    st.just(object()), st.sampled_from([Path(), {}, re.compile("x"), b"a", [None]]),
)  # fmt: skip


@inputs(5_000)
@given(st.sampled_from([*(set(Arguments._fields) - {"logs", "asyncio", "signals", "threads"})]), ANYTHING)
@example("file", "9" * 400)
@example("file", "a\0b")
def test_arguments_of_configure(name, value):
    """The same: an error of its own class names the argument."""
    with mock.patch.dict(os.environ, {}, clear=True):
        _, error = refused(lambda: resolve(Arguments(**{name: value}), os.environ))
    assert not error or (error.startswith(f"{name} is ") and "it must be " in error)


WEIRD = st.text("/:@?#[]%&=., \\\t\x1bax", max_size=4)


@inputs(20_000)
@given(
    st.sampled_from(["http://", "https://", "grpc://", "//", "/", "", "http:/", "http//", "HTTP://"]),
    st.sampled_from(["me:{}@", ":{}@", "{}@", "?key={}", "/?token={}&x=1", "/v1/traces?a=b&key={}"]),
    st.lists(WEIRD, min_size=3, max_size=3),
    st.sampled_from(["localhost", "collector", "[::1]", "127.0.0.1:4318", "h:99999", ""]),
    st.sampled_from(["grpc", "http/protobuf"]),
)  # fmt: skip
@example("/", "me:{}@", ["", "", ""], "localhost", "grpc")
@example("http://", "me:{}@", ["=/", "", ""], "localhost", "grpc")
@example("http://", "me:{}@", ["=#", "", ""], "localhost", "grpc")
@example("http://", "?key={}", ["", "", "\t:"], "localhost", "grpc")
@example("http://", "?key={}", ["=#", "", ""], "localhost", "http/protobuf")
def test_secrets_of_endpoints(scheme, credential, weird, host, protocol):
    """A password or a query is in no message, whatever is wrong with the rest."""
    shown = credential.format(SECRET)
    before, between, after = weird
    is_query = shown.startswith(("?", "/"))
    endpoint = "".join(
        (scheme, before, host, shown, after) if is_query else (scheme, before, shown, between, host, after)
    )
    environ = Variables({"OTEL_EXPORTER_OTLP_PROTOCOL": protocol})
    output, error = refused(lambda: otlp("traces", endpoint, environ))
    assert SECRET not in error
    assert SECRET not in repr(output)
    if output is not None:
        assert SECRET not in Destination(output.label, output.secrets).shown(f"failed: {output.url}")


@inputs(5_000)
@given(
    st.sampled_from(["authorization", "x-api-key", "cookie", "Proxy-Authorization"]),
    st.lists(TEXTS, min_size=3, max_size=3),
    st.sampled_from(["http://localhost:4318", "http://collector:4318", "https://collector:4318"]),
)
def test_secrets_of_headers(name, weird, endpoint):
    """A header's value is in no message."""
    before, between, after = weird
    headers = f"{before}{name}={between}{SECRET}{after}"
    environ = Variables({"OTEL_EXPORTER_OTLP_HEADERS": headers})
    output, error = refused(lambda: otlp("traces", endpoint, environ))
    assert SECRET not in error
    assert SECRET not in repr(output)


# redaction


VALUES_SENT = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS, st.binary()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=8,
)


@inputs(5_000)
@given(st.dictionaries(TEXTS, VALUES_SENT, max_size=4), CHANCE)
def test_redaction(attributes, chance):
    """The secret is hidden wherever it stands, by a name or by a pattern, and the rest stays."""

    def sown(value):
        match value:
            case str() if chance.randrange(2):
                at = chance.randrange(len(value) + 1)
                return value[:at] + SECRET + value[at:]
            case bytes() if chance.randrange(2):
                return value + SECRET.encode()
            case list():
                return [sown(item) for item in value]
            case dict():
                return {sown(name): sown(item) for name, item in value.items()}
        return value

    with soon():
        redaction = Redaction(redact_setting(["*PASS*", re.compile(SECRET)]))
        found = redaction.attributes({**sown(attributes), "my.password": SECRET})
    assert SECRET not in repr(found)
    assert found["my.password"] == MARKER


# patterns of functions


@inputs(10_000)
@given(st.one_of(TEXTS, st.text("ab.*?[]!-,", max_size=30)), st.text("ab._", max_size=40))
def test_patterns(text, name):
    """A pattern is one error, or matches or not, soon."""
    found, error = refused(lambda: variables.patterns("--monitor", text))
    assert not error or error.startswith("--monitor is ")
    if found is not None:
        with soon():
            Patterns(found, found[:1]).select("package.module", name)


# carriers


CARRIED = st.sampled_from(
    [
        b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        b"a=1,b@c=2",
        b"user=%41;p,b=2",
        b"one/t%20wo",
    ]
)


@inputs(5_000)
@given(
    st.dictionaries(
        st.sampled_from(["TRACEPARENT", "TRACESTATE", "BAGGAGE", "CODOPERF_OTEL_AGENT", "OTHER"]),
        st.one_of(VALUES, st.builds(mutated, CARRIED, CHANCE, st.integers(0, 3)).map(os.fsdecode)),
    )
)
def test_carriers(carrier):
    """A program starts whatever its variables say of its parent."""
    with soon():
        _, agents = extract(carrier)
    assert all(isinstance(agent, str) for agent in agents)


# sources of a program


STANDARD_LIBRARY = [
    path
    for path in sorted(Path(ast.__file__).parent.glob("*.py"))
    if path.stat().st_size < 20_000 and not path.name.startswith("_")
]


@st.composite
def source_texts(draw):
    """A module of the standard library with some of its lines moved, doubled, indented or damaged."""
    chance = draw(CHANCE)
    lines = chance.choice(STANDARD_LIBRARY).read_bytes().splitlines(keepends=True)
    for _ in range(draw(st.integers(0, 5))):
        at = chance.randrange(len(lines))
        match chance.randrange(6):
            case 0:
                del lines[at : at + chance.randrange(9)]
            case 1:
                lines.insert(at, chance.choice(lines))
            case 2:
                lines[at] = b"    " + lines[at]
            case 3:
                lines[at] = mutated(lines[at], chance, 1)
            case 4:
                imported = (
                    b"import json, csv as c; import os.path as p",
                    b"from . import (a,\n  b as c) # x",
                    b"import \xc3\xa9",
                )
                lines.insert(at, chance.choice(imported) + b"\n")
            case 5:
                lines[at] = lines[at].replace(b"\n", chance.choice((b"\r\n", b"\r", b"\x0c\n", b"")))
        lines = lines or [b"\n"]
    return b"".join(lines)


@inputs(2_000)
@given(source_texts())
def test_sources(data):
    """What can be compiled can be after its imports were moved; anything else is left alone."""
    with folder() as inside:
        path = inside / "program.py"
        path.write_bytes(data)
        with soon():
            found = sources([Import("program", 0, 0, 0, None, None, None, None, str(path))], None)
        for source in found:
            movable = [
                (
                    statement,
                    [
                        name
                        for name in statement.names
                        if name.functions and not source.is_needed_at_once(statement, name, found)
                    ],
                )
                for statement in source.statements
                if statement.block is None
            ]
            move(source.text, [each for each in movable if each[1]]).compiled("program.py")


# the command line


OPTIONS = [
    "--json",
    "--width",
    "--endpoint",
    "--timeout",
    "--name",
    "--monitor",
    "--exclude",
    "--threshold",
    "--check",
    "--patch",
    "-m",
    "--",
    "-",
    "--max-spans-per-second",
    "--baseline",
    "--no-such",
    "--file",
    "--service-name",
]
ARGUMENTS = VALUES.filter(lambda text: not text.startswith("-"))


@contextmanager
def nothing_runs():
    """What would run a program does nothing."""
    with ExitStack() as stack:
        for name in (
            "run._begin",
            "run.program.run_script",
            "run.program.run_module",
        ):
            stack.enter_context(mock.patch(f"codoperf_otel.cli.{name}"))
        stack.enter_context(
            mock.patch("codoperf_otel.cli.imports.TracedProgram", side_effect=CommandError("no"))
        )
        yield


@inputs(2_000)
@given(
    st.sampled_from(["view", "replay", "cache", "imports", "run", "mcp", "no-such", ""]),
    st.lists(
        st.one_of(st.sampled_from(OPTIONS), ARGUMENTS, st.sampled_from(["stats", "0", "-1", "1e9"])),
        max_size=4,
    ),
)
@example("imports", ["9" * 400])
def test_command_line(name, arguments):
    """What cannot be done is status 2 and a line that says why."""
    with folder() as inside, chdir(inside), nothing_runs():
        status, _, err = command(name, *arguments, *([] if name == "run" else ["--no-such-option"]))
    assert status == 2 or (name == "run" and status == 0)
    assert "Traceback" not in err
    assert bool(err.strip()) is (status == 2)


@pytest.mark.parametrize("arguments", [["view"], ["replay"], ["cache", "stats"], ["imports"]])
def test_a_path_that_is_too_long(arguments):
    """It is one line, as any other that is not there."""
    status, _, err = command(*arguments, "9" * 400)
    assert status == 2
    assert err.count("\n") == 1
    assert "too long" in err


# cache folders


@inputs(1_000)
@given(CHANCE, st.integers(1, 8), st.sampled_from(["stats", "verify", "vacuum", "clear"]))
def test_cache_folders(chance, changes, action):
    """A damaged file is reported in one line, or worked on; no value is read, and the cache goes on."""
    with folder() as inside:
        manager = CacheManager(inside, name="fuzzed")
        for key in "abc":
            manager.set(key, {1, 2})
        path = inside / "cache.sqlite3"
        with sqlite3.connect(path) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()
        path.write_bytes(mutated(path.read_bytes(), chance, changes))
        with mock.patch("pickle.loads", side_effect=AssertionError("unpickled")):
            status, out, err = command("cache", action, inside, "--json")
        assert status in (0, 1, 2)
        if status != 2:
            json.loads(out, parse_constant=refuse_constant)
        assert "Traceback" not in err
        assert CacheManager(inside, name="fuzzed").get("a", {1, 2}) == {1, 2}
