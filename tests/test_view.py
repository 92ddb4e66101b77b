"""``codoperf view``: files in, a report out."""

from __future__ import annotations

import base64
import json
import os
import pty
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from rich.cells import cell_len

from codoperf_otel.cli import main
from codoperf_otel.cli._text_report import console

pytestmark = pytest.mark.once

DATA = Path(__file__).parent / "data"
SECOND = 10**9
START = 1_764_000_000 * SECOND
MIB = 2**20
TRACE = "5b8efff798038103d269b633813fc60c"
COMMAND = [sys.executable, "-m", "codoperf_otel.cli"]


# files


def value(raw: Any) -> dict[str, Any]:
    """An attribute's value in OTLP JSON, as the Collector writes it."""
    if isinstance(raw, bool):
        return {"boolValue": raw}
    if isinstance(raw, int):
        return {"intValue": str(raw)}
    return {"doubleValue": raw} if isinstance(raw, float) else {"stringValue": raw}


def attributes(given: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value(raw)} for key, raw in given.items()]


def span(
    ident: int, parent: int | None = None, name: str = "work", at: float = 0, wall: float = 1, **more: Any
):
    """A span; ``given`` are its attributes, all other keywords go into it as they are."""
    return {
        "traceId": more.pop("trace", TRACE),
        "spanId": f"{ident:016x}",
        **({"parentSpanId": f"{parent:016x}"} if parent else {}),
        "name": name,
        "startTimeUnixNano": str(START + int(at * SECOND)),
        "endTimeUnixNano": str(START + int((at + wall) * SECOND)),
        "attributes": attributes(more.pop("given", {})),
        **more,
    }


def spans_line(*spans: Any) -> str:
    resource = {"attributes": attributes({"service.name": "shop"})}
    return json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": list(spans)}]}]})


def points_line(name: str, *points: Any, instance: str = "a", temporality: Any = 2, unit: str = "1") -> str:
    metric = {
        "name": name,
        "unit": unit,
        "sum": {"aggregationTemporality": temporality, "dataPoints": points},
    }
    resource = {"attributes": attributes({"service.instance.id": instance})}
    return json.dumps({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [metric]}]}]})


def point(amount: Any, at: float = 1, start: float = 0, **given: str) -> dict[str, Any]:
    """A data point whose attributes are given with ``_`` for ``.``."""
    named = {key.replace("_", "."): raw for key, raw in given.items()}
    times = {"startTimeUnixNano": str(int(start * SECOND)), "timeUnixNano": str(int(at * SECOND))}
    kind = "asDouble" if isinstance(amount, float) else "asInt"
    return {"attributes": attributes(named), **times, kind: amount}


def lookups(amount: Any, result: str = "hit", cache: str = "answers", tier: str = "memory", **more: Any):
    tiered = {"codoperf_cache_tier": tier} if result == "hit" else {}
    return point(amount, codoperf_cache_name=cache, codoperf_cache_result=result, **tiered, **more)


@pytest.fixture
def view(tmp_path, capsys):
    """Write lines to a file, view it, return what is on the screen; the command has to succeed."""

    def show(*lines: str, options: tuple[str, ...] = ()) -> str:
        file = tmp_path / "any-name.json"
        file.write_text("".join(f"{line}\n" for line in lines))
        assert main(["view", str(file), *options]) == 0
        return capsys.readouterr().out

    return show


@pytest.fixture
def document(view):
    """The same as data."""
    return lambda *lines: json.loads(view(*lines, options=("--json",)))


def row(screen: str, start: str, section: str = "") -> list[str]:
    """The cells of the first line that begins with *start* after the heading *section*."""
    for line in screen[screen.index(section) :].splitlines():
        bare = line.lstrip("│├└─ ")
        if bare.startswith(start):
            return re.split(r" {2,}", bare)
    raise AssertionError(f"no line {start!r} in:\n{screen}")


# the tree


MEASURED = {
    "codoperf.cpu.time": 0.75,
    "codoperf.cpu.self_time": 0.5,
    "codoperf.suspended.time": 0.125,
    "codoperf.process.memory.start": 100 * MIB,
    "codoperf.process.memory.peak": 148 * MIB,
}


def test_a_span_shows_what_was_measured_of_it(view):
    """Wall, CPU times, waiting and memory stand beside the name; the child is under its parent."""
    lines = spans_line(span(1, name="plan", wall=2, given=MEASURED), span(2, 1, name="think"))
    screen = view(lines)
    assert row(screen, "span")[1:] == [
        "wall", "whole CPU", "self CPU", "waiting", "+memory", "peak", "CPU"
    ]  # fmt: skip
    assert row(screen, "plan") == [
        "plan", "2.00 s", "750 ms", "500 ms", "125 ms", "+48 MiB", "148 MiB", "750 ms"
    ]  # fmt: skip
    assert "\n└─ think  " in screen


def test_what_was_not_measured_is_a_dash(view, document):
    """An absent attribute is neither 0 on the screen nor in the data."""
    line = spans_line(span(1), span(2, 1, name="measured", given=MEASURED))
    assert row(view(line), "work") == ["work", "1.00 s", "750 ms", *["–"] * 5]  # noqa: RUF001
    found = document(line)["trees"][0]["spans"][0]
    assert found["cpu_seconds"] is found["suspended_seconds"] is found["memory_peak_bytes"] is None


def test_a_column_that_would_be_empty_is_left_out(view):
    """Of spans without figures only the wall time is shown, and no title stands above nothing."""
    screen = view(spans_line(span(1, given={"gen_ai.agent.name": "ann"})))
    assert row(screen, "span") == ["span", "wall"]
    assert row(screen, "work") == ["work", "1.00 s"]
    assert row(screen, "operation", "by self CPU") == ["operation", "calls", "avg wall", "errors", "agent"]
    assert row(screen, "agent", "Agents") == ["agent", "tools", "errors", "lazy"]


def test_programs_have_columns_where_there_are_some(view):
    """Programs' CPU time is shown beside the sum of both; without programs self CPU says it all."""
    ann = {"gen_ai.agent.name": "ann", "codoperf.cpu.time": 0.5}
    own = span(1, name="own", given=ann)
    program = span(2, name="program", given={**ann, "codoperf.cpu.child_process_time": 2.0})
    alone, both = view(spans_line(own)), view(spans_line(own, program))
    assert row(alone, "agent", "Agents")[1:3] == ["own CPU", "tools"]
    assert "Top operations by self CPU" in alone
    assert row(both, "agent", "Agents")[1:4] == ["total CPU", "child CPU", "tools"]
    assert row(both, "ann", "Agents")[1:4] == ["3.00 s", "2.00 s", "0"]
    ranked = both[both.index("Top operations by total CPU") :]
    assert row(ranked, "program")[1:6] == ["2.50 s", "━━━━━━━━", "83 %", "500 ms", "2.00 s"]
    assert row(ranked, "own")[1:6] == ["500 ms", "━━", "17 %", "500 ms", "–"]  # noqa: RUF001
    assert ranked.index("program ") < ranked.index("own ")
    assert row(both, "program")[2:5] == ["2.50 s", "500 ms", "2.00 s"]


def test_whole_cpu_is_that_of_all_below(document):
    """A parent has what it gathered, and programs; calls without a span are in inclusive time alone."""
    given = {"codoperf.cpu.time": 0.25, "codoperf.cpu.self_time": 0.125}
    gathered = [span(n, 1, given=given | {"codoperf.cpu.child_process_time": 1.0}) for n in (2, 3)]
    spans = [span(1, given=given), *gathered, span(4, 2, given={"codoperf.cpu.time": 2.0}), span(5, 1)]
    found = document(spans_line(*spans))["trees"][0]["spans"]
    assert {one["span_id"][-1]: one["whole_cpu_seconds"] for one in found} == {
        "1": 4.5, "2": 3.125, "3": 1.25, "4": 2.0, "5": None
    }  # fmt: skip


def of_process(name: str, *spans: Any) -> str:
    """Spans of a process of its own."""
    line = json.loads(spans_line(*spans))
    line["resourceSpans"][0]["resource"]["attributes"] += attributes({"service.instance.id": name})
    return json.dumps(line)


def test_what_child_processes_say_of_themselves_counts_once(document):
    """Their spans have it; their starter keeps what these do not have, also of processes further below."""
    ann = {"gen_ai.agent.name": "ann"}
    given = {**ann, "codoperf.cpu.time": 0.5}
    found = document(
        of_process(
            "parent",
            span(1, name="outer", given=given),
            span(2, 1, "tool", given=given | {"codoperf.cpu.child_process_time": 9.0}),
            span(3, 2, "of a library"),
            span(7, 1, "tool of little", given=given | {"codoperf.cpu.child_process_time": 0.25}),
        ),
        of_process(
            "child",
            span(4, 3, "inner", given=given | {"codoperf.cpu.child_process_time": 2.0}),
            span(6, 3, "more", given=given),
            span(8, 7, "more than its starter knows of", given=given),
        ),
        of_process("grandchild", span(5, 4, "innermost", given=given)),
    )
    told = {one["name"]: one for one in found["trees"][0]["spans"]}
    assert told["inner"]["child_process_cpu_seconds"] == 1.5
    assert told["tool"]["child_process_cpu_seconds"] == 9.0 - 2.0 - 0.5 - 0.5
    assert told["tool of little"]["child_process_cpu_seconds"] == 0.0
    assert told["tool"]["whole_cpu_seconds"] == 9.5
    assert told["outer"]["whole_cpu_seconds"] == found["agents"][0]["total_cpu_seconds"] == 11.0


def test_sums_of_times_have_no_rounding_errors(document):
    """What three spans took of 0.1 s each is 0.3 s, not 0.30000000000000004 s."""
    given = {"gen_ai.agent.name": "ann", "codoperf.cpu.time": 0.1}
    found = document(spans_line(*(span(number, given=given) for number in range(1, 4))))
    assert found["agents"][0]["total_cpu_seconds"] == 0.3
    assert found["operations"][0]["self_cpu_seconds"] == 0.3


def test_what_has_no_line_is_counted_with_its_times(view):
    """The line that counts the others has their wall time and their whole CPU time."""
    given = {"codoperf.cpu.time": 0.5}
    screen = view(spans_line(span(1, wall=99), *(span(9 + n, 1, f"c{n}", given=given) for n in range(12))))
    assert row(screen, "… and 3 more spans") == ["… and 3 more spans", "3.00 s", "1.50 s"]


def test_a_measured_zero_is_zero(view):
    """Only what is absent is a dash."""
    assert row(view(spans_line(span(1, given={"codoperf.cpu.time": 0.0}))), "work")[2] == "0 s"


def test_errors_stand_under_their_span(view):
    """The kind of error and what it says, from the status or else from the exception's event."""
    raised = {"name": "exception", "attributes": attributes({"exception.message": "no route"})}
    screen = view(
        spans_line(
            span(
                1, name="a", status={"code": 2, "message": "too late"}, given={"error.type": "TimeoutError"}
            ),
            span(2, name="b", status={"code": 2}, events=[raised]),
        )
    )
    assert "✗ TimeoutError: too late" in screen
    assert "✗ error: no route" in screen
    assert "2 spans, 2 failed" in screen


def test_lazy_loads_and_cache_events_stand_under_their_span(view):
    """What a span loaded and looked up is shown where it happened."""
    loaded = {
        "codoperf.module.name": "numpy",
        "codoperf.lazy_load.duration": 0.25,
        "codoperf.process.memory.delta": 30 * MIB,
    }
    events = [{"name": "codoperf.lazy_load", "attributes": attributes(loaded)}]
    events += [{"name": f"codoperf.cache.{result}"} for result in ("hit", "hit", "miss")]
    screen = view(spans_line(span(1, events=events)))
    assert "↓ lazy numpy 250 ms, +30 MiB" in screen
    assert "cache 2 hit, 1 missed" in screen


def test_an_outcome_that_is_no_error_is_named(view):
    """A cancelled span is told apart from one that failed and from one that went well."""
    screen = view(spans_line(span(1, given={"codoperf.outcome": "cancelled"})))
    assert row(screen, "work")[0] == "work cancelled"


def test_many_siblings_of_one_name_are_one_line(view):
    """512 reads are one line with their total, their longest, and the errors among them."""
    reads = [span(10 + n, 1, "read_file", at=n / 1000, wall=0.5 if n == 7 else 0.001) for n in range(512)]
    for failed in reads[:3]:
        failed["attributes"] = attributes({"error.type": "OSError"})
    screen = view(spans_line(span(1, name="root", wall=9), *reads))
    assert row(screen, "read_file")[:3] == ["read_file ×512", "1.01 s", "500 ms"]  # noqa: RUF001
    assert "✗ 3 failed: OSError ×3" in screen  # noqa: RUF001
    assert len([line for line in screen.splitlines() if "read_file" in line]) == 2  # tree and operations


def test_what_is_below_folded_siblings_is_folded_together(view):
    """Folding keeps the levels: files of a review, and the steps of all of them."""
    files = [span(100 + n, 1, "file", at=n) for n in range(50)]
    steps = [span(1000 + n, 100 + n, "parse", at=n, wall=0.5) for n in range(50)]
    screen = view(spans_line(span(1, name="root"), *files, *steps))
    assert "└─ file ×50" in screen  # noqa: RUF001
    assert "   └─ parse ×50" in screen  # noqa: RUF001


def test_a_few_siblings_keep_their_own_lines(view):
    """Three of a name are told apart."""
    screen = view(spans_line(span(1, name="root"), *(span(n, 1, "step", at=n) for n in (2, 3, 4))))
    assert len(re.findall(r"^[├└]─ step ", screen, re.MULTILINE)) == 3


def test_a_wide_parent_shows_its_longest_children_and_counts_the_others(view):
    """The lines under one parent are bounded, and no span is lost."""
    children = [span(100 + n, 1, f"c{n:03}", at=n, wall=n + 1) for n in range(200)]
    screen = view(spans_line(span(1, name="root", wall=500), *children))
    tree = screen.split("Top operations")[0]
    shown = re.findall(r"─ (c\d{3})", tree)
    assert shown == [f"c{n:03}" for n in range(200 - len(shown), 200)]
    assert f"└─ … and {200 - len(shown)} more spans" in tree
    assert len(shown) < 12


def test_a_large_trace_is_one_screen(view):
    """However the tree branches, its lines are bounded, and the longest way is shown."""
    spans = [span(1, name="root", wall=1000)]
    for ident in range(2, 4000):
        parent = (ident + 6) // 8
        spans.append(span(ident, parent, f"n{ident}", at=ident, wall=1000 - ident / 10))
    tree = view(spans_line(*spans)).split("Top operations")[0]
    assert len(tree.splitlines()) < 70
    shown = len(re.findall(r"\bn\d+ |root ", tree))
    unseen = re.findall(r"(?:… and (\d+) more span)|(?:… (\d+) below)", tree.replace(",", ""))
    assert shown + sum(int(more or below) for more, below in unseen) == 3999


def test_a_deep_trace_is_shown_as_far_as_it_fits(view, document):
    """5,000 spans below each other neither overrun the stack nor the line; the data has them all."""
    chain = spans_line(*(span(n, n - 1 or None, f"d{n}", at=n / 1e6) for n in range(1, 5001)))
    assert "d13 … 4,987 below" in view(chain)
    assert [each["depth"] for each in document(chain)["trees"][0]["spans"]] == list(range(5000))


def test_a_span_without_its_parent_is_a_root(view):
    """What came in before or without its parent is shown."""
    screen = view(spans_line(span(2, 1, "orphan"), span(3, 2, "child")))
    assert "\norphan " in screen
    assert "\n└─ child " in screen


def test_spans_that_are_each_others_parents_are_shown_once(document):
    """A ring has no root; its first span is taken as one."""
    tree = document(spans_line(span(1, 2, "a"), span(2, 1, "b", at=1), span(3, 3, "self", at=2)))["trees"][0]
    assert Counter(each["name"] for each in tree["spans"]) == {"a": 1, "b": 1, "self": 1}
    assert tree["spans"][0]["name"] == "a"


def test_children_are_in_the_order_of_their_start(document):
    """A file has spans in the order of their end; the tree has not."""
    found = document(spans_line(span(3, 1, "second", at=2), span(2, 1, "first", at=1), span(1, name="root")))
    assert [each["name"] for each in found["trees"][0]["spans"]] == ["root", "first", "second"]


def test_the_longest_traces_come_first_and_the_others_are_counted(view):
    """Three of ten traces are drawn."""
    screen = view(*(spans_line(span(1, name=f"t{n}", wall=n, trace=f"{n:032x}")) for n in range(1, 11)))
    assert re.findall(r"^(t\d+) ", screen.split("Top operations")[0], re.MULTILINE) == ["t10", "t9", "t8"]
    assert "… and 7 shorter traces" in screen


def test_a_span_that_has_not_ended_has_no_wall_time(view):
    """An end that is absent or before the start is not a duration."""
    screen = view(spans_line(span(1, endTimeUnixNano=None), span(2, name="ended")))
    assert row(screen, "work")[1] == "–"  # noqa: RUF001
    assert row(screen, "ended")[1] == "1.00 s"


# what it adds up to


def test_operations_are_ranked_by_self_cpu(view):
    """Self CPU where it is given, else CPU; the share is of all self CPU, the wall time an average."""
    screen = view(
        spans_line(
            span(1, name="outer", wall=4, given={"codoperf.cpu.time": 4.0, "codoperf.cpu.self_time": 1.0}),
            span(2, 1, "inner", wall=1, given={"codoperf.cpu.time": 1.5, "gen_ai.agent.name": "ann"}),
            span(3, 1, "inner", wall=3, given={"codoperf.cpu.time": 1.5, "gen_ai.agent.name": "ann"}),
        )
    )
    table = screen[screen.index("by self CPU") :]
    assert table.index("inner") < table.index("outer")
    assert row(table, "inner") == ["inner", "3.00 s", "━━━━━━━━", "75 %", "2", "2.00 s", "0", "ann"]
    assert row(table, "outer") == ["outer", "1.00 s", "━━━", "25 %", "1", "4.00 s", "0", "–"]  # noqa: RUF001


def test_operations_are_ranked_by_memory(document, view):
    """The highest rise and the highest peak of an operation; what has no reading is not ranked."""

    def memory(start: int, peak: int) -> dict[str, int]:
        return {"codoperf.process.memory.start": start * MIB, "codoperf.process.memory.peak": peak * MIB}

    line = spans_line(
        span(1, name="small", given=memory(100, 101)),
        span(2, name="large", given=memory(100, 150)),
        span(3, name="large", given=memory(120, 160)),
        span(4, name="unmeasured"),
    )
    table = view(line).split("by memory")[1]
    assert row(table, "large")[:3] == ["large", "+50 MiB", "160 MiB"]
    assert table.index("large") < table.index("small")
    assert "unmeasured" not in table


def test_an_agent_has_one_line(document):
    """Self CPU of all its spans; wall and waiting of its runs only, since they hold what is inside."""
    run = {
        "gen_ai.agent.name": "ann",
        "gen_ai.operation.name": "invoke_agent",
        "codoperf.suspended.time": 0.5,
    }
    own = {"codoperf.cpu.time": 0.75, "codoperf.cpu.self_time": 0.25}
    tool = {"gen_ai.agent.name": "ann", "gen_ai.operation.name": "execute_tool", "codoperf.cpu.time": 0.5}
    waits = {"codoperf.suspended.time": 0.5, "codoperf.cpu.child_process_time": 2.0, "error.type": "OSError"}
    planner = {"gen_ai.agent.name": "planner"}
    agents = document(
        spans_line(
            span(1, name="plan", wall=9, given=planner),
            span(2, 1, name="invoke_agent ann", at=1, wall=3, given={**run, **own}),
            span(3, 2, name="execute_tool grep", at=2, given={**tool, **waits}),
            span(4, 1, name="invoke_agent ann", at=5, wall=2, given={**run, **own}),
            span(5, name="other"),
        ),
        points_line(
            "codoperf.cache.lookups",
            lookups(7, gen__ai_agent_name="ann"),
            lookups(3, "miss", gen__ai_agent_name="ann"),
            lookups(1, "stale", gen__ai_agent_name="ann"),
            lookups(3, "coalesced", gen__ai_agent_name="ann"),
            lookups(9, "miss"),
        ).replace("gen..ai", "gen_ai"),
        points_line(
            "codoperf.cache.saved.time",
            point(2, codoperf_cache_name="answers", gen__ai_agent_name="ann"),
            point(0.5, codoperf_cache_name="parses", gen__ai_agent_name="ann"),
            point(9, codoperf_cache_name="answers"),
        ).replace("gen..ai", "gen_ai"),
    )["agents"]
    assert [agent["name"] for agent in agents] == ["planner", "ann"]
    assert agents[1] == {
        "name": "ann",
        "runs": 2,
        "wall_seconds": 5.0,
        "total_cpu_seconds": 3.0,
        "self_cpu_seconds": 1.0,
        "waiting_seconds": 1.0,
        "child_process_cpu_seconds": 2.0,
        "memory_growth_bytes": None,
        "memory_peak_bytes": None,
        "tool_calls": 1,
        "cache_hits": 7,
        "cache_misses": 4,
        "cache_hit_ratio": 7 / 14,  # of all look-ups, as in `agent_report`
        "cache_saved_seconds": 2.5,
        "lazy_loads": 0,
        "errors": 1,
    }
    assert agents[0]["cache_hits"] is agents[0]["self_cpu_seconds"] is None


def invoked(ident: int, parent: int | None, name: str | None = "ann", **more: Any) -> dict[str, Any]:
    """An ``invoke_agent`` span, ours or a framework's."""
    given = {"gen_ai.operation.name": "invoke_agent", **({"gen_ai.agent.name": name} if name else {})}
    return span(ident, parent, f"invoke_agent {name}", given=given, **more)


def ran_for_ann(ident: int, parent: int, operation: str | None = None) -> dict[str, Any]:
    """A span that has an agent's name and does not invoke it."""
    kind = {"gen_ai.operation.name": operation} if operation else {}
    return span(ident, parent, "step", given={"gen_ai.agent.name": "ann", **kind})


RUNS = {
    "a framework's span in between has no name": (
        [invoked(1, None, wall=9), span(2, 1, "agent run"), ran_for_ann(3, 2), ran_for_ann(4, 2)],
        {"ann": (1, 9.0)},
    ),
    "a framework's span in between has another operation": (
        [invoked(1, None, wall=9), ran_for_ann(2, 1, "create_agent"), ran_for_ann(3, 2, "execute_tool")],
        {"ann": (1, 9.0)},
    ),
    "a framework's invocation is around ours": (
        [invoked(1, None, wall=9), invoked(2, 1, wall=8), ran_for_ann(3, 2, "chat")],
        {"ann": (1, 9.0)},
    ),
    "a framework's invocation is deep inside ours": (
        [invoked(1, None, wall=9), span(2, 1, "agent run"), invoked(3, 2, None), invoked(4, 3, wall=8)],
        {"ann": (1, 9.0)},
    ),
    "it runs twice": (
        [span(1), invoked(2, 1, at=1, wall=2), invoked(3, 1, at=4, wall=3)],
        {"ann": (2, 5.0)},
    ),
    "a tool of it invokes it again": (
        [invoked(1, None, wall=9), ran_for_ann(2, 1, "execute_tool"), invoked(3, 2, wall=4)],
        {"ann": (2, 13.0)},
    ),
    "another agent hands back to it": (
        [invoked(1, None, wall=9), invoked(2, 1, "bob", wall=5), invoked(3, 2, wall=4)],
        {"ann": (2, 13.0), "bob": (1, 5.0)},
    ),
    "its parent is not in the file": ([invoked(2, 1, wall=9)], {"ann": (1, 9.0)}),
    "it is its own ancestor": ([invoked(1, 2, wall=9), span(2, 1, at=1)], {"ann": (1, 9.0)}),
    "it is only named": ([ran_for_ann(2, 1)], {"ann": (0, None)}),
}


@pytest.mark.parametrize("case", RUNS)
def test_an_agents_runs_are_its_invocations(document, case):
    """Each ``invoke_agent`` span is a run, unless another instrumentation's span says the same around it."""
    spans, wanted = RUNS[case]
    agents = document(spans_line(*spans))["agents"]
    assert {agent["name"]: (agent["runs"], agent["wall_seconds"]) for agent in agents} == wanted


def test_of_a_cumulative_series_the_newest_value_counts(document):
    """Points are running totals: the latest by time counts, whatever the order of the lines."""
    lines = [points_line("codoperf.cache.lookups", lookups(n, at=n)) for n in (10, 30, 20)]
    assert document(*lines)["caches"][0]["hits"] == 30


def test_series_of_several_processes_and_restarts_add_up(document):
    """Another resource is another series, and so is the same one that began anew."""
    caches = document(
        points_line("codoperf.cache.lookups", lookups(10, at=5), instance="a"),
        points_line("codoperf.cache.lookups", lookups(20, at=5), instance="b"),
        points_line("codoperf.cache.lookups", lookups(4, at=9, start=6), instance="a"),
    )["caches"]
    assert caches[0]["hits"] == 34


@pytest.mark.parametrize("delta", [1, "1", "AGGREGATION_TEMPORALITY_DELTA"])
def test_delta_series_add_up(document, delta):
    """Points of delta temporality are parts, not totals."""
    lines = [
        points_line("codoperf.cache.lookups", lookups(5, at=n, start=n - 1), temporality=delta)
        for n in (1, 2)
    ]
    assert document(*lines)["caches"][0]["hits"] == 10


def test_a_cache_shows_hits_by_tier_misses_ratio_and_saved_time(view):
    """One line per cache, one column per tier that had hits and per other result."""
    screen = view(
        points_line(
            "codoperf.cache.lookups",
            *(lookups(50), lookups(25, tier="disk"), lookups(20, "miss"), lookups(5, "coalesced")),
            lookups(3, "miss", cache="files"),
        ),
        points_line(
            "codoperf.cache.saved.time", {**point(0, codoperf_cache_name="answers"), "asDouble": 1.5}
        ),
    )
    titles = ["cache", "hit ratio", "look-ups", "memory hits", "disk hits", "coalesced", "miss", "saved"]
    assert row(screen, "cache ", "Caches") == titles
    assert row(screen, "answers") == ["answers", "75 %", "100", "50", "25", "5", "20", "1.50 s"]
    assert row(screen, "files") == ["files", "0 %", "3", "–", "–", "–", "3", "–"]  # noqa: RUF001


def test_who_waited_for_a_value_has_not_missed_it(document):
    """Look-ups that waited for another caller are neither hits nor misses."""
    results = (lookups(6), lookups(2, "miss"), lookups(1, "stale"), lookups(3, "coalesced"))
    (cache,) = document(points_line("codoperf.cache.lookups", *results))["caches"]
    assert (cache["lookups"], cache["hits"], cache["misses"], cache["coalesced"]) == (12, 6, 3, 3)
    assert cache["misses_by_result"] == {"miss": 2, "stale": 1}


def test_lazy_loads_are_listed_with_who_paid(document):
    """An event on the span that used the module first, or a span of its own."""
    loaded = {
        "codoperf.module.name": "numpy",
        "codoperf.lazy_load.duration": 0.25,
        "codoperf.module.count": 90,
    }
    alone = {"codoperf.module.name": "csv", "codoperf.lazy_load.duration": 0.5, "error.type": "ImportError"}
    event = {"name": "codoperf.lazy_load", "attributes": attributes(loaded)}
    loads = document(
        spans_line(
            span(1, name="plot", events=[event], given={"gen_ai.agent.name": "ann"}),
            span(2, name="lazy_load csv", given=alone),
        )
    )["lazy_loads"]
    assert [load["module"] for load in loads] == ["csv", "numpy"]
    assert loads[0]["error"] == "ImportError"
    assert loads[1] == {
        "module": "numpy",
        "operation": "plot",
        "agent": "ann",
        "duration_seconds": 0.25,
        "memory_growth_bytes": None,
        "module_count": 90,
        "error": None,
    }


def test_metrics_alone_are_listed(view):
    """A file without spans shows what it has; of a histogram the count and the sum."""
    histogram = {"dataPoints": [{"count": "4", "sum": 2, "timeUnixNano": "1"}], "aggregationTemporality": 2}
    metric = {"name": "http.duration", "unit": "s", "histogram": histogram}
    line = json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]})
    assert row(view(line), "http.duration") == ["http.duration", "2", "s", "4", "1"]


# other writers


def test_lines_of_the_real_collector_are_read(capsys):
    """Traces and metrics as Collector 0.155.0 wrote them (see data/README.md)."""
    assert main(["view", str(DATA / "collector-traces.jsonl")]) == 0
    traces = capsys.readouterr().out
    assert row(traces, "invoke_agent reviewer")[1:] == [
        "3.00 s",
        "2.50 s",
        "250 ms",
        "500 ms",
        "+48 MiB",
        "96 MiB",
        "2.50 s",
    ]
    assert "├─ review.read_file ×5" in traces  # noqa: RUF001
    assert "↓ lazy ast 250 ms, +3.0 MiB" in traces
    assert "✗ ValueError: no such rule" in traces
    assert main(["view", str(DATA / "collector-metrics.jsonl")]) == 0
    assert row(capsys.readouterr().out, "analyses") == ["analyses", "80 %", "40", "30", "2", "8", "3.00 s"]


def test_lines_of_the_sdk_encoder_are_read(document):
    """What OpenTelemetry's own encoder makes of real spans, ids as hex, comes back as it was."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "shop"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    with tracer.start_as_current_span("outer") as outer:
        inner = tracer.start_span("inner", attributes={"codoperf.cpu.time": 0.125})
        inner.set_status(trace.Status(trace.StatusCode.ERROR, "gone"))
        inner.end()
    encoded = MessageToDict(encode_spans(exporter.get_finished_spans()), use_integers_for_enums=True)
    found = document(json.dumps(with_hex_ids(encoded)))["trees"][0]
    assert found["trace_id"] == f"{outer.get_span_context().trace_id:032x}"
    assert [(each["name"], each["service"], each["depth"]) for each in found["spans"]] == [
        ("outer", "shop", 0),
        ("inner", "shop", 1),
    ]
    assert found["spans"][1]["cpu_seconds"] == 0.125
    assert found["spans"][1]["error_message"] == "gone"


def with_hex_ids(encoded: Any) -> Any:
    if isinstance(encoded, list):
        return [with_hex_ids(item) for item in encoded]
    if not isinstance(encoded, dict):
        return encoded
    ids = ("traceId", "spanId", "parentSpanId")
    return {k: base64.b64decode(v).hex() if k in ids else with_hex_ids(v) for k, v in encoded.items()}


def test_numbers_and_enums_are_taken_in_every_form(document):
    """64-bit integers as numbers, doubles as integers or text, enums by name, ids in upper case."""
    given = [
        {"key": "codoperf.cpu.time", "value": {"doubleValue": 1}},
        {"key": "codoperf.suspended.time", "value": {"doubleValue": "0.5"}},
        {"key": "codoperf.process.memory.start", "value": {"intValue": 1024}},
        {"key": "codoperf.process.memory.peak", "value": {"intValue": 4096.0}},
        {"key": "codoperf.cpu.self_time", "value": {"doubleValue": "NaN"}},
        {"key": "list", "value": {"arrayValue": {"values": [{"stringValue": "x"}]}}},
    ]
    parent = span(
        1, startTimeUnixNano=START, flags=256, status={"code": "STATUS_CODE_ERROR"}, attributes=given
    )
    parent["spanId"] = "00000000000000AB"
    parent["parentSpanId"] = "0000000000000000"
    found = document(spans_line(parent, span(2, 0xAB, at=0.5)))["trees"][0]["spans"]
    assert [each["depth"] for each in found] == [0, 1]
    assert found[0]["parent_span_id"] is None
    assert (found[0]["cpu_seconds"], found[0]["self_cpu_seconds"]) == (1.0, 1.0)
    assert (found[0]["suspended_seconds"], found[0]["memory_growth_bytes"]) == (0.5, 3072)
    assert found[0]["error_type"] == "error"


def test_the_protocols_own_field_names_are_read(document):
    """snake_case keys, ids in base64: protobuf's JSON with the field names kept."""
    plain = {
        "trace_id": "W47/95gDgQPSabYzgT/GDA==",
        "span_id": "AAAAAAAAAAE=",
        "parent_span_id": "AAAAAAAAAAA=",
        "name": "snake",
        "start_time_unix_nano": "1",
        "end_time_unix_nano": "2",
        "attributes": [{"key": "gen_ai.agent.name", "value": {"string_value": "ann_b"}}],
    }
    line = json.dumps({"resource_spans": [{"scope_spans": [{"spans": [plain]}]}]})
    (only,) = document(line)["trees"][0]["spans"]
    assert (only["name"], only["agent"], only["parent_span_id"]) == ("snake", "ann_b", None)


def test_a_point_that_says_it_has_no_value_has_none(document):
    """Flag 1 of a data point: the series ended, its value is not 0."""
    lines = [
        points_line("codoperf.cache.lookups", each) for each in (lookups(5), {**lookups(0, at=2), "flags": 1})
    ]
    assert document(*lines)["caches"][0]["hits"] == 5


# broken input


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON"),
        ("\x00\x01", "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "not OTLP JSON"),
        ('{"data": 1}', "not OTLP JSON"),
        ('{"resourceSpans": 5}', "resourceSpans is not a list"),
        ("[" * 100_000, "nested too deep"),
        (spans_line("x"), "not a JSON object"),
        (spans_line(span(1, startTimeUnixNano="soon")), "startTimeUnixNano is not a 64-bit integer"),
        (spans_line(span(1, startTimeUnixNano=None)), "startTimeUnixNano is absent"),
        (spans_line(span(1, endTimeUnixNano="9" * 50)), "endTimeUnixNano is not a 64-bit integer"),
        (spans_line(span(1, spanId="")), "spanId is absent"),
        (spans_line(span(1, attributes={"a": 1})), "attributes is not a list"),
    ],
)
def test_a_broken_line_is_named_and_skipped(tmp_path, capsys, line, reason):
    """File, line and reason on stderr; the lines around it are shown."""
    file = tmp_path / "traces.jsonl"
    file.write_text(f"{spans_line(span(7, name='before'))}\n\n{line}\n{spans_line(span(8, name='after'))}\n")
    assert main(["view", str(file)]) == 0
    screen = capsys.readouterr()
    assert screen.err.startswith(f"{file}:3: ")
    assert reason in screen.err
    assert len(screen.err.splitlines()) == 1
    assert "before" in screen.out
    assert "after" in screen.out


def test_bytes_that_are_no_text_are_a_broken_line(tmp_path, capsys):
    """A line in another encoding is named like any other."""
    file = tmp_path / "traces.jsonl"
    file.write_bytes(b'{"resourceSpans": "\xff"}\n' + spans_line(span(1)).encode())
    assert main(["view", str(file)]) == 0
    assert capsys.readouterr().err == f"{file}:1: not text in UTF-8\n"


def test_a_broken_span_costs_only_itself(tmp_path, capsys):
    """The other spans of its line are shown, and it is named."""
    file = tmp_path / "traces.jsonl"
    file.write_text(
        spans_line(span(1, name="good"), span(2, name="bad", startTimeUnixNano=-1), span(3, name="too"))
    )
    assert main(["view", str(file)]) == 0
    screen = capsys.readouterr()
    assert "span 'bad': startTimeUnixNano" in screen.err
    assert "good" in screen.out
    assert "too" in screen.out


def test_the_data_names_what_was_skipped(tmp_path, capsys):
    """A script sees the broken lines too."""
    file = tmp_path / "traces.jsonl"
    file.write_text(f"{spans_line(span(1))}\nnonsense\n")
    assert main(["view", str(file), "--json"]) == 0
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert (problem["file"], problem["line"]) == (str(file), 2)


def test_of_very_many_broken_lines_the_first_are_named(tmp_path, capsys):
    """A wrong file does not flood the terminal."""
    file = tmp_path / "notes.txt"
    file.write_text("hello\n" * 1000)
    assert main(["view", str(file)]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 22
    assert errors[20] == "… and 980 more lines skipped"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory"),
        ("", "empty"),
        ("\n \n", "empty"),
        ('{"resourceLogs": []}\n', "no span and no metric in it"),
        ('{"resourceSpans": []}\n', "no span and no metric in it"),
    ],
)
def test_a_file_with_nothing_to_show_is_one_error(tmp_path, capsys, content, reason):
    """A missing or empty file, or one of other signals: one line, exit status 2, nothing on stdout."""
    file = tmp_path / "traces.jsonl"
    if content is not None:
        file.write_text(content)
    assert main(["view", str(file)]) == 2
    screen = capsys.readouterr()
    assert screen.out == ""
    assert screen.err.startswith(f"codoperf: {file}: ")
    assert reason in screen.err
    assert len(screen.err.splitlines()) == 1


def test_a_folder_is_read_whole(tmp_path, capsys):
    """Traces and metrics of a folder are one report; one of them may be empty or absent."""
    (tmp_path / "metrics.jsonl").write_text(points_line("codoperf.cache.lookups", lookups(1)))
    (tmp_path / "traces.jsonl").touch()
    assert main(["view", str(tmp_path)]) == 0
    assert "Caches" in capsys.readouterr().out
    (tmp_path / "traces.jsonl").write_text(spans_line(span(1)))
    assert main(["view", str(tmp_path)]) == 0
    both = capsys.readouterr().out
    assert "Caches" in both
    assert "Trace " in both


@pytest.mark.parametrize(("files", "reason"), [((), "neither"), (("traces.jsonl", "metrics.jsonl"), "empty")])
def test_a_folder_with_nothing_to_show_is_one_error(tmp_path, capsys, files, reason):
    """A folder without our files, or with empty ones, is named."""
    for name in files:
        (tmp_path / name).touch()
    assert main(["view", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"codoperf: {tmp_path}: ")
    assert reason in error


def test_what_cannot_be_opened_is_one_error(tmp_path, capsys):
    """The system's reason is told without a traceback."""
    (tmp_path / "traces.jsonl").mkdir()
    (tmp_path / "traces.jsonl" / "x").touch()
    assert main(["view", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"codoperf: {tmp_path / 'traces.jsonl'}: Is a directory\n"


# the screen


HOSTILE = "\x1b[31mred\x07\r\n\t[bold]x[/bold] :smile: \u202egnp.\u200b\ud800 \x9b2J"


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_names_from_data_cannot_steer_the_terminal(view, options):
    """Control, direction and invisible characters of any name are replaced; markup is text."""
    hostile = {"gen_ai.agent.name": HOSTILE, "error.type": HOSTILE, "codoperf.outcome": HOSTILE}
    event = {"name": "codoperf.lazy_load", "attributes": attributes({"codoperf.module.name": HOSTILE})}
    bad = span(1, name=HOSTILE, given=hostile, events=[event], trace=HOSTILE, status={"message": HOSTILE})
    screen = view(
        spans_line(bad),
        points_line("codoperf.cache.lookups", lookups(1, cache=HOSTILE, tier=HOSTILE)),
        options=options,
    )
    assert all(char.isprintable() or char == "\n" for char in screen)
    assert "[bold]x[/bold]" in screen
    assert ":smile:" in screen


def test_the_console_of_the_commands_takes_text_as_it_is(capsys):
    """What a command prints through it is no markup either."""
    console().print("[bold]x[/bold] :smile:")
    assert capsys.readouterr().out == "[bold]x[/bold] :smile:\n"


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_no_line_is_wider_than_the_screen(view, width):
    """Names are cut and columns left out before a line would wrap; the wall time stays."""
    name = "package.module.Class.a_function_of_a_rather_long_name"
    kanji = "\u6f22\u5b57" * 40
    screen = view(
        spans_line(span(1, name=name), span(2, 1, name=kanji), span(3, 2, name=f"execute_tool {name}")),
        options=("--width", str(width)),
    )
    assert max(map(cell_len, screen.splitlines())) <= width
    assert screen.count("1.00 s") >= 3


EXPLAIN_THEMSELVES = {
    *("span", "operation", "calls", "errors", "agent", "", "cache", "hit ratio", "look-ups", "memory hits"),
    *("miss", "module", "took", "metric", "total", "unit", "count", "series"),
}
FILES = {
    "figures": spans_line(
        span(1, name="plan", given={**MEASURED, "gen_ai.agent.name": "ann"}),
        *(span(ident, 1, "step") for ident in range(2, 9)),
    ),
    "children": spans_line(
        span(1, given={"gen_ai.agent.name": "ann", "codoperf.cpu.child_process_time": 2.0}),
    ),
    "loads": spans_line(
        span(1, given={"codoperf.lazy_load.duration": 0.5, "codoperf.module.count": 9}),
    ),
    "caches": "\n".join(
        (
            spans_line(span(1)),
            points_line("codoperf.cache.lookups", lookups(2), lookups(1, "miss")),
            points_line("codoperf.cache.saved.time", point(3, codoperf_cache_name="answers")),
        )
    ),
    "nothing": spans_line(span(1)),
}


@pytest.mark.parametrize("width", [40, 80, 160])
@pytest.mark.parametrize("file", FILES)
def test_the_legend_explains_what_is_shown(view, file, width):
    """Each title that does not explain itself is in it, and no other; it is wrapped, never cut."""
    *report, explained = view(FILES[file], options=("--width", str(width))).rstrip().split("\n\n")
    heads = [line for part in report for line in part.splitlines() if re.match(HEAD, line)]
    titles = {title for line in heads for title in re.split(r" {2,}", line)}
    parts = [part.split(": ")[0] for part in explained.replace("\n", " ").split(" · ")]
    marks = {"–": "–", "×N": "×"}  # noqa: RUF001
    assert set(parts) - set(marks) == titles - EXPLAIN_THEMSELVES
    assert all((name in parts) is (mark in "".join(report)) for name, mark in marks.items())
    assert len(parts) == len(set(parts))
    assert "…" not in explained


@pytest.mark.parametrize(("width", "missing"), [(40, True), (200, False)])
def test_columns_without_room_are_named(view, width, missing):
    """A narrow screen says what a wider one shows; a wide one leaves nothing out."""
    screen = view(FILES["figures"], options=("--width", str(width)))
    named = re.search(r"^A wider screen also shows: (.*?)\n\n", screen, re.MULTILINE | re.DOTALL)
    assert (named is not None) is missing
    if named:
        assert {"waiting", "+memory", "peak"} <= set(re.split(r",\s", named[1]))
        assert max(map(len, screen.splitlines())) <= width


@pytest.mark.parametrize("width", [40, 80, 100, 120])
def test_all_that_an_agent_took_is_shown_on_each_screen(view, width):
    """Where the columns have no room side by side, they stand below each other, each once."""
    run = {
        "gen_ai.agent.name": "complexity-reviewer",
        "gen_ai.operation.name": "invoke_agent",
        "codoperf.cpu.child_process_time": 2.0,
        "codoperf.suspended.time": 0.5,
        "codoperf.process.memory.peak": 3 << 20,
    }
    tool = {"gen_ai.agent.name": "complexity-reviewer", "gen_ai.operation.name": "execute_tool"}
    of_it = {"gen__ai_agent_name": "complexity-reviewer"}
    screen = view(
        "\n".join(
            (
                spans_line(span(1, given=MEASURED | run), span(2, 1, given=tool)),
                points_line("codoperf.cache.lookups", lookups(7, **of_it)).replace("gen..ai", "gen_ai"),
                points_line("codoperf.cache.saved.time", point(4, **of_it)).replace("gen..ai", "gen_ai"),
            )
        ),
        options=("--width", str(width)),
    )
    table = screen.partition("\nAgents\n")[2].partition("\n\n")[0].splitlines()
    heads = [re.split(r" {2,}", line)[1:] for line in table if line.startswith("agent ")]
    shown = [title for head in heads for title in head]
    wanted = ["wall", "total CPU", "child CPU", "waiting", "peak", "tools", "hits", "saved", "errors"]
    assert [title for title in shown if title != "lazy"] == wanted
    assert len(heads) == 1 if width >= 100 else len(heads) > 1
    assert max(map(len, table)) <= width


def test_without_anything_to_explain_there_is_no_legend(view):
    """What shows metrics alone ends with the last of them."""
    assert view(points_line("jobs", point(3))).splitlines()[-1].startswith("jobs ")


HEAD = r"(span|operation|agent|cache|module|metric)  "


def test_of_a_cut_dotted_name_the_end_is_kept(view):
    """The function says more than its package."""
    screen = view(spans_line(span(1, name="package." * 9 + "the_function")), options=("--width", "60"))
    assert re.search(r"^….*\.the_function  ", screen, re.MULTILINE)


def test_a_pipe_gets_plain_text_of_one_width(tmp_path):
    """Without a terminal there are no control characters, whatever the size of the terminal nearby."""
    file = tmp_path / "t.jsonl"
    file.write_text(spans_line(span(1, name="x" * 300)))
    environment = {**os.environ, "COLUMNS": "37", "TERM": "xterm-256color"}
    done = subprocess.run(
        [*COMMAND, "view", file], capture_output=True, text=True, env=environment, check=True
    )
    assert re.sub(r"\n", "", done.stdout).isprintable()
    assert max(map(len, done.stdout.splitlines())) == 100


@pytest.mark.parametrize(("extra", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_gets_colours_unless_told_not_to(tmp_path, extra, coloured):
    """A failed span is red; NO_COLOR is obeyed."""
    file = tmp_path / "t.jsonl"
    file.write_text(spans_line(span(1, given={"error.type": "OSError"})))
    environment = {
        **{k: v for k, v in os.environ.items() if k != "NO_COLOR"},
        "TERM": "xterm-256color",
        **extra,
    }
    ours, theirs = pty.openpty()
    process = subprocess.Popen([*COMMAND, "view", file], stdout=theirs, env=environment)
    os.close(theirs)
    output = b""
    while chunk := read_terminal(ours):
        output += chunk
    os.close(ours)
    assert process.wait() == 0
    assert (b"\x1b[31m" in output) is coloured


def read_terminal(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux says so at the end of a pseudo-terminal
        return b""


def test_a_terminal_without_the_characters_gets_plain_ones(tmp_path):
    """In ASCII the tree is drawn with ASCII, and nothing fails."""
    file = tmp_path / "t.jsonl"
    file.write_text(spans_line(span(1, name="root"), span(2, 1, name="\u6f22" * 60)))
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*COMMAND, "view", file], capture_output=True, env=environment, check=True)
    assert b"\n`- ?" in done.stdout


@pytest.mark.parametrize("options", [[], ["--json"]])
@pytest.mark.parametrize("count", [1, 3000])
def test_a_closed_pipe_ends_it_quietly(tmp_path, options, count):
    """``codoperf view … | head -1`` prints no traceback."""
    file = tmp_path / "t.jsonl"
    file.write_text(spans_line(*(span(n, name=f"n{n}") for n in range(1, count + 1))))
    reading, writing = os.pipe()
    os.close(reading)
    buffered = {key: raw for key, raw in os.environ.items() if key != "PYTHONUNBUFFERED"}
    command = [*COMMAND, "view", file, *options]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, env=buffered)
    os.close(writing)
    assert done.stderr == b""
    assert done.returncode == 1


def test_without_rich_it_says_what_to_install(tmp_path):
    """The extra is named in one line; the data needs no rich."""
    file = tmp_path / "t.jsonl"
    file.write_text(spans_line(span(1)))
    program = "import sys; sys.modules['rich'] = None; from codoperf_otel.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "view", str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "codoperf: this needs rich: pip install 'codoperf-otel[cli]'\n"
    assert subprocess.run([*command, "--json"], capture_output=True).returncode == 0


# the command


def test_the_json_document_has_every_part(document):
    """The keys that scripts depend on."""
    found = document(spans_line(span(1)), points_line("m", point(1)))
    assert set(found) == {
        *(
            "source",
            "problems",
            "trees",
            "operations",
            "agents",
            "caches",
            "lazy_loads",
            "dropped",
            "metrics",
        ),
    }
    assert set(found["trees"][0]) == {"trace_id", "start_time", "wall_seconds", "spans"}
    assert found["trees"][0]["start_time"] == "2025-11-24T16:00:00+00:00"


def test_without_a_command_the_help_is_shown(capsys):
    """Wrong use is exit status 2."""
    assert main([]) == 2
    assert "view" in capsys.readouterr().err


@pytest.mark.parametrize("width", ["0", "39", "-5", "wide"])
def test_a_wrong_width_is_refused(capsys, width):
    """The message names the value and what is allowed."""
    with pytest.raises(SystemExit) as stopped:
        main(["view", "x", f"--width={width}"])
    assert stopped.value.code == 2
    assert f"'{width}' is not a number of columns of 40 or more" in capsys.readouterr().err


def test_a_sum_beyond_floats_is_null_in_json(view):
    """JSON has no infinity."""
    huge = {"codoperf.cpu.time": 1e308, "codoperf.cpu.self_time": 1e308}
    text = view(spans_line(*(span(number, given=huge) for number in (1, 2))), options=("--json",))
    found = json.loads(text, parse_constant=pytest.fail)
    assert None in found["operations"][0].values()


def test_an_unknown_option_is_refused_with_the_usage_of_its_command(capsys):
    """What the command that was called takes is shown, not what there is beside it."""
    with pytest.raises(SystemExit) as ended:
        main(["view", "out", "--widht", "80"])
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert shown.startswith("usage: codoperf view ")
    assert "unrecognized arguments: --widht 80" in shown


HUGE = [{"key": "codoperf.cpu.time", "value": {"doubleValue": 1e308}}]


@pytest.mark.parametrize("options", [[], ["--json"]])
@pytest.mark.parametrize(
    "line",
    [
        {"resourceSpans": [None]},
        {"resourceSpans": [{"scopeSpans": [None, {"spans": [None, {"parentSpanId": ["x"]}]}]}]},
        {"resourceSpans": [{"scopeSpans": [{"spans": [span(n, attributes=HUGE) for n in (7, 8)]}]}]},
        {
            "resourceMetrics": [
                {"scopeMetrics": [{"metrics": [{"name": "codoperf.cache.lookups", "sum": {"dataPoints": [
                    {"asDouble": 1e308, "attributes": attributes({"codoperf.cache.name": "c", "n": n})}
                    for n in range(2)
                ]}}]}]}
            ]
        },
    ],
    ids=["null group", "list for an id", "infinite sum", "huge counts"],
)  # fmt: skip
def test_any_document_is_reported(tmp_path, capsys, line, options):
    """Whatever a line holds, the others are shown, and JSON has no number that is none."""
    good = {"resourceSpans": [{"scopeSpans": [{"spans": [span(1, name="shown")]}]}]}
    (tmp_path / "traces.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in (line, good)))
    assert main(["view", str(tmp_path), *options]) == 0
    printed = capsys.readouterr().out
    assert "shown" in printed
    assert "Infinity" not in printed
