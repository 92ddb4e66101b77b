"""The whole way of the data: the demo's agents, seen in the real Collector, Jaeger and Prometheus."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from queries import queries
from real_stack import Stack, eventually, get, post

pytestmark = pytest.mark.stack

PROGRAMS = Path(__file__).parent / "programs"
ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DASHBOARD = ROOT / "dashboards" / "agents-resources.json"
SERVICE = "end-to-end"
FILES = 6


class Reviewed(NamedTuple):
    """A program that ran the demo's review twice, and what is known of it from inside."""

    calls: dict[str, int]
    total: int
    traces: list[str]
    metrics: list[str]

    @property
    def spans(self) -> dict[str, dict[str, Any]]:
        """The spans that the process wrote to its own file, by id."""
        return {
            span["spanId"]: span
            for line in self.traces
            for resource in json.loads(line)["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        }


def run(program: str, *arguments: object) -> str:
    """The output of a program of ours."""
    command = [sys.executable, "-P", str(PROGRAMS / program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return done.stdout


def tree(folder: Path) -> Path:
    """Real source code: some files of the standard library."""
    import email

    source = Path(email.__file__).parent
    names = sorted(path.name for path in source.glob("*.py"))[:FILES]
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes((source / name).read_bytes())
    return folder


@pytest.fixture(scope="module")
def reviewed(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Reviewed:
    """The review, run once; its spans have arrived in Jaeger and its last metrics in Prometheus."""
    folder = tmp_path_factory.mktemp("reviewed")
    output = run("reviewed.py", tree(folder / "tree"), stack.otlp_grpc, folder / "out", folder / "cache")
    said = json.loads(output)
    lines = [(folder / "out" / name).read_text().splitlines() for name in ("traces.jsonl", "metrics.jsonl")]
    found = Reviewed(said["calls"], said["all"], *lines)
    for trace_id in {span["traceId"] for span in found.spans.values()}:
        wanted = sum(span["traceId"] == trace_id for span in found.spans.values())
        eventually(lambda trace_id=trace_id: stack.trace(trace_id), lambda spans, n=wanted: len(spans) >= n)
    eventually(lambda: counted(stack, "codoperf_function_duration_seconds_count"), lambda n: n >= 63)
    return found


def counted(stack: Stack, series: str, **labels: str) -> float:
    """The sum of a counter over all its series of the service."""
    chosen = "".join(f',{name}="{value}"' for name, value in labels.items())
    return stack.value(f'sum({series}{{service_name="{SERVICE}"{chosen}}})')


def attributes(span: dict[str, Any]) -> dict[str, Any]:
    """The attributes of a span in a file, as plain values."""
    plain = {item["key"]: next(iter(item["value"].values())) for item in span.get("attributes", ())}
    return {key: float(value) if is_number(value) else str(value) for key, value in plain.items()}


def is_number(value: object) -> bool:
    """Whether JSON holds a number, or 64 bits of one as text."""
    try:
        float(value)  # type: ignore[arg-type]
    except ValueError:
        return False
    return not isinstance(value, bool)


def seen(span: dict[str, Any]) -> dict[str, Any]:
    """The attributes of a span in Jaeger; what Jaeger itself adds is left out."""
    own = ("otel.", "span.kind", "error", "internal.")
    tags = {tag["key"]: tag["value"] for tag in span["tags"]}
    plain = {key: value for key, value in tags.items() if key == "error.type" or not key.startswith(own)}
    return {key: float(value) if is_number(value) else str(value) for key, value in plain.items()}


def test_jaeger_has_exactly_the_spans_that_ran(stack, reviewed):
    """Every span is in Jaeger, under its name, its parent and its attributes, and no other."""
    spans = reviewed.spans
    ours = {span["traceId"]: {} for span in spans.values()}
    for span_id, span in spans.items():
        ours[span["traceId"]][span_id] = (span["name"], span.get("parentSpanId") or None, attributes(span))
    for trace_id, wanted in ours.items():
        theirs = {
            span_id: (
                span["operationName"],
                next((r["spanID"] for r in span["references"] if r["refType"] == "CHILD_OF"), None),
                seen(span),
            )
            for span_id, span in stack.trace(trace_id).items()
        }
        assert theirs == wanted


def test_spans_are_as_many_as_the_process_counted(reviewed):
    """Each call counted in the process is one span, by name and in all."""
    names = Counter(span["name"] for span in reviewed.spans.values())
    assert {name: names[name] for name in reviewed.calls} == reviewed.calls
    lazy = sum(count for name, count in names.items() if name.startswith("lazy_load "))
    assert sum(names.values()) - lazy == reviewed.total


def test_the_demo_used_its_agents_and_tools(reviewed):
    """The planner ran once a review, and every reviewer and tool took part."""
    assert reviewed.calls["invoke_agent planner"] == 2
    agents = {name for name in reviewed.calls if name.startswith("invoke_agent ")}
    tools = {name for name in reviewed.calls if name.startswith("execute_tool ")}
    assert len(agents) >= 4
    assert len(tools) >= 6
    assert reviewed.calls["execute_tool read_file"] == 2 * FILES


def test_agents_are_the_parents_of_their_tools(reviewed):
    """Each tool's span names the agent in force, and that agent is among its ancestors."""
    spans = reviewed.spans
    for span in spans.values():
        if span["name"].startswith("execute_tool "):
            above, name = span, attributes(span).get("gen_ai.agent.name")
            while above and above["name"] != f"invoke_agent {name}":
                above = spans.get(above.get("parentSpanId", ""))
            assert above, span["name"]


@pytest.mark.parametrize(
    ("series", "prefix", "label"),
    [
        ("gen_ai_execute_tool_duration_seconds_count", "execute_tool ", "gen_ai_tool_name"),
        ("gen_ai_invoke_agent_duration_seconds_count", "invoke_agent ", "gen_ai_agent_name"),
    ],
)
def test_prometheus_counts_what_the_process_counted(stack, reviewed, series, prefix, label):
    """Every count in Prometheus equals the in-process statistics."""
    wanted = {name.removeprefix(prefix): n for name, n in reviewed.calls.items() if name.startswith(prefix)}
    result = stack.query(f'sum by ({label}) ({series}{{service_name="{SERVICE}"}})')
    assert {row["metric"][label]: float(row["value"][1]) for row in result} == wanted


def test_prometheus_counts_functions_and_operations_too(stack, reviewed):
    """The counts of functions and operations add up to the calls that are neither agent nor tool."""
    rest = sum(
        n for name, n in reviewed.calls.items() if not name.startswith(("execute_tool", "invoke_agent"))
    )
    functions = counted(stack, "codoperf_function_duration_seconds_count")
    operations = counted(stack, "codoperf_operation_duration_seconds_count")
    assert functions + operations == rest
    assert counted(stack, "codoperf_function_duration_seconds_count", error_type="KeyError") == 3


def test_cache_lookups_add_up(stack, reviewed):
    """Of two analyses of each file, three lookups per review: the first two are missed, and computed once."""
    hits = counted(stack, "codoperf_cache_lookups_total", codoperf_cache_result="hit")
    misses = counted(stack, "codoperf_cache_lookups_total", codoperf_cache_result="miss")
    loads = counted(stack, "codoperf_cache_load_duration_seconds_count")
    assert misses == loads == 2 * FILES
    assert hits == 2 * 3 * FILES - misses
    assert counted(stack, "codoperf_cache_saved_time_seconds_total") > 0


def test_the_readmes_query_finds_the_costliest_operation(stack, reviewed):
    """Prometheus answers it with the operation that used the most CPU with its programs, and its agent."""
    (query,) = re.findall(r"^```promql\n(.+)\n```$", README.read_text(), re.MULTILINE)
    (costliest,) = stack.query(query.replace("my-agent", SERVICE))
    assert costliest["metric"] == {
        "codoperf_operation_name": "execute_tool run_linter",
        "gen_ai_agent_name": "lint-reviewer",
    }


def test_ten_milliseconds_read_as_ten_milliseconds(stack, reviewed):
    """The 95th percentile of a 10 ms call is between 5 and 25 ms in Prometheus."""
    buckets = (
        f'codoperf_function_duration_seconds_bucket{{service_name="{SERVICE}",code_function_name=~".*nap"}}'
    )
    assert 0.005 <= stack.value(f"histogram_quantile(0.95, sum by (le) ({buckets}))") <= 0.025


def test_an_exemplar_opens_its_trace(stack, reviewed):
    """An exemplar of the duration histogram names a trace, and a span in it, that Jaeger has."""
    query = f'gen_ai_execute_tool_duration_seconds_bucket{{service_name="{SERVICE}"}}'
    found = eventually(lambda: stack.exemplars(query), bool)
    labels = found[0]["labels"]
    assert labels["span_id"] in stack.trace(labels["trace_id"])


def test_lazy_load_is_on_the_span_that_needed_it(stack, reviewed):
    """The event of the lazily loaded module is on the tool's span that used it first."""
    spans = [
        (span["name"], event)
        for span in reviewed.spans.values()
        for event in span.get("events", ())
        if event["name"] == "codoperf.lazy_load"
    ]
    assert spans
    for name, event in spans:
        assert name.startswith("execute_tool ")
        assert float(attributes(event)["codoperf.lazy_load.duration"]) > 0
    ids = {span["traceId"] for span in reviewed.spans.values()}
    logs = [log for trace in ids for span in stack.trace(trace).values() for log in span["logs"]]
    assert any(field["value"] == "codoperf.lazy_load" for log in logs for field in log["fields"])


def test_process_series_are_of_this_service(stack, reviewed):
    """Process readings arrive under the convention's names, one series a process."""
    for series in ("process_memory_usage_bytes", "process_cpu_time_seconds_total", "process_uptime_seconds"):
        assert counted(stack, series) > 0, series


def test_collector_accepts_every_line_of_the_files(stack, reviewed):
    """Each line of both files is a request that the Collector takes whole."""
    for signal, lines in (("traces", reviewed.traces), ("metrics", reviewed.metrics)):
        assert lines
        for line in lines:
            assert not post(f"{stack.otlp_http}/v1/{signal}", line.encode()).get("partialSuccess")


def test_jaeger_takes_the_merged_traces_for_display(stack, reviewed):
    """The lines of the traces file, merged, are what Jaeger's upload takes."""
    merged = {"resourceSpans": [r for line in reviewed.traces for r in json.loads(line)["resourceSpans"]]}
    shown = post(f"{stack.jaeger}/api/transform", json.dumps(merged).encode())
    assert sum(len(trace["spans"]) for trace in shown["data"]) == len(reviewed.spans)


def test_forked_child_exports_its_own_counts(stack):
    """Parent and child are two instances in Prometheus, with two and three calls."""
    run("forked.py", stack.otlp_grpc)
    series = 'codoperf_function_duration_seconds_count{service_name="forked"}'
    result = eventually(lambda: stack.query(series), lambda rows: len(rows) == 2)
    assert sorted(float(row["value"][1]) for row in result) == [2, 3]
    assert len({row["metric"]["service_instance_id"] for row in result}) == 2


def test_every_panel_has_data_after_the_demo(stack, tmp_path):
    """After `codoperf demo`, which asks no model, the other queries give data from the real Prometheus."""
    command = [sys.executable, "-P", "-m", "codoperf_otel.cli", "demo", str(tree(tmp_path / "tree"))]
    command += ["--out", str(tmp_path / "out"), "--endpoint", stack.otlp_grpc]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(tmp_path))
    assert done.returncode == 0, done.stderr
    values = {
        "service": "codoperf-demo",
        "instance": ".*",
        "agent": ".*",
        "__rate_interval": "1m",
        "__range": "5m",
    }
    empty = {
        title
        for title, promql in queries(json.loads(DASHBOARD.read_text()), values)
        if title not in ("Model calls by agent", "Tokens by agent")
        and not eventually(lambda promql=promql: stack.query(promql), bool)
    }
    assert not empty


def environment(home: Path) -> dict[str, str]:
    """Variables of a user who has set none of OpenTelemetry's, and whose cache is cold."""
    import os

    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return kept | {"XDG_CACHE_HOME": str(home / "cache")}


def test_the_stack_says_that_it_is_up(stack):
    """Jaeger and Prometheus answer for themselves."""
    assert get(f"{stack.prometheus}/api/v1/status/buildinfo")["status"] == "success"
    assert SERVICE in eventually(
        lambda: get(f"{stack.jaeger}/api/services")["data"], lambda names: SERVICE in names
    )
