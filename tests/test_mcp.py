"""`codoperf mcp`: what an agent asks of its own telemetry, by the official client over standard streams."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters

from codoperf_otel._report.document import document
from codoperf_otel._report.files import read

pytestmark = pytest.mark.once

ALWAYS = {"agent_report", "cache_stats", "performance_stats", "resource_report", "slowest_operations"}
COMPARING = {"check_regression", "compare_benchmarks"}

PROGRAM = """
import sys, time
import codoperf_otel as co
co.configure("asked", file=sys.argv[1])

@co.monitor_performance("work")
def work():
    time.sleep(float(sys.argv[2]))

@co.monitor_performance("rest")
def rest():
    time.sleep(0.05)

@co.cached_function(disk=False)
def look_up(key):
    return key

with co.agent("reviewer"):
    for _ in range(8):
        work(), rest(), look_up(1)
    with co.tool("grep"):
        pass
"""


def record(folder: Path, seconds: float) -> Path:
    """The telemetry of a program whose operation `work` takes so long."""
    subprocess.run([sys.executable, "-c", PROGRAM, str(folder), str(seconds)], check=True)
    return folder


def ask(questions, *arguments):
    """What the server answers, each as the client has it; `questions` are names and arguments of tools."""

    async def asking():
        command = ["-m", "codoperf_otel.cli", "mcp", *map(str, arguments)]
        async with Client(StdioServerParameters(command=sys.executable, args=command)) as client:
            tools = (await client.list_tools()).tools
            return tools, [await client.call_tool(name, given) for name, given in questions]

    return asyncio.run(asking())


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Two recordings: in the second `work` takes longer."""
    folder = tmp_path_factory.mktemp("recorded")
    return record(folder / "before", 0.005), record(folder / "now", 0.1)


def rows(answer):
    """The structured content of an answer, which its text says too."""
    assert not answer.is_error
    found = answer.structured_content
    texts = [json.loads(content.text) for content in answer.content]
    found = found.get("result", found)
    assert texts == (found if isinstance(found, list) else [found])
    return found


def test_the_answers_are_those_of_view(recorded):
    """Operations, agents and caches are the rows that `codoperf view --json` has."""
    _, now = recorded
    names = ["performance_stats", "agent_report", "cache_stats"]
    _, answers = ask([(name, {}) for name in names], now)
    shown = document(read(now))
    operations, agents, caches = map(rows, answers)
    assert (operations, agents, caches) == (shown["operations"], shown["agents"], shown["caches"])
    assert agents[0]["cache_hits"] == 7


def test_every_tool_reads_only_and_says_what_it_is_for(recorded):
    """Without a recording from before there is nothing to compare with, so no such tool is offered."""
    before, now = recorded
    tools, _ = ask([], now)
    comparing, _ = ask([], now, "--baseline", before)
    assert {tool.name for tool in tools} == ALWAYS
    assert {tool.name for tool in comparing} == ALWAYS | COMPARING
    for tool in comparing:
        assert tool.annotations.read_only_hint
        assert tool.description
        assert tool.output_schema


def test_rows_can_be_chosen(recorded):
    """By the operation's name, by a number of rows, and by what is most expensive."""
    _, now = recorded
    _, answers = ask(
        [
            ("performance_stats", {"operation": "work"}),
            ("slowest_operations", {"by": "wall", "limit": 2}),
            ("resource_report", {}),
        ],
        now,
    )
    named, slowest, resources = map(rows, answers)
    assert [(row["name"], row["calls"]) for row in named] == [("work", 8)]
    assert [row["name"] for row in slowest] == ["invoke_agent reviewer", "work"]
    assert (resources["spans"], resources["processes"], resources["errors"]) == (18, 1, 0)


def test_a_regression_is_found(recorded):
    """An operation that takes longer is slower, by a rank test; one that does not is the same."""
    before, now = recorded
    questions = [
        ("check_regression", {"max_slowdown": 1.0}),
        ("compare_benchmarks", {"operation": "work"}),
        ("check_regression", {"max_slowdown": 100.0}),
    ]
    _, answers = ask(questions, now, "--baseline", before)
    slower, work, none = map(rows, answers)
    assert [row["operation"] for row in slower] == ["work"]
    assert (work["verdict"], work["calls_before"], work["calls_now"]) == ("slower", 8, 8)
    assert work["change"] > 1
    assert none == []


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("compare_benchmarks", {"operation": "nobody"}, "'nobody' is not in both recordings"),
        ("slowest_operations", {"by": "luck"}, "luck"),
        ("slowest_operations", {"limit": 0}, "limit"),
        ("performance_stats", {"limit": 10**9}, "limit"),
    ],
)
def test_a_wrong_question_is_an_error_that_says_why(recorded, name, given, said):
    """The client is told, and the server answers the next question."""
    before, now = recorded
    _, (wrong, right) = ask([(name, given), ("cache_stats", {})], now, "--baseline", before)
    assert wrong.is_error
    assert said in wrong.content[0].text
    assert rows(right)


def test_what_is_written_later_is_read(tmp_path):
    """A recording that grows is read anew, and one that is removed is an error until it is there again."""
    folder = record(tmp_path / "live", 0.001)

    async def asking():
        command = ["-m", "codoperf_otel.cli", "mcp", str(folder)]
        async with Client(StdioServerParameters(command=sys.executable, args=command)) as client:
            first = await client.call_tool("performance_stats", {"operation": "work"})
            record(folder, 0.001)
            second = await client.call_tool("performance_stats", {"operation": "work"})
            folder.rename(tmp_path / "away")
            third = await client.call_tool("performance_stats", {})
            (tmp_path / "away").rename(folder)
            return first, second, third, await client.call_tool("performance_stats", {"operation": "work"})

    first, second, away, again = asyncio.run(asking())
    assert [rows(answer)[0]["calls"] for answer in (first, second, again)] == [8, 16, 16]
    assert away.is_error
    assert f"{folder}: No such file or directory" in away.content[0].text


def test_hostile_lines_are_skipped_and_counted(recorded, tmp_path):
    """Lines that are no telemetry cost nothing but themselves."""
    _, now = recorded
    text = (now / "traces.jsonl").read_text()
    (tmp_path / "traces.jsonl").write_text(f'[1, 2\n{{"resourceSpans": null}}\n{"[" * 100_000}\n{text}')
    _, (answer,) = ask([("resource_report", {})], tmp_path)
    assert rows(answer)["spans"] == 18
    assert rows(answer)["skipped_lines"] >= 2


@pytest.mark.parametrize("arguments", [["missing"], ["{now}", "--baseline", "missing"]])
def test_a_missing_recording_is_one_line(recorded, tmp_path, arguments):
    """The server does not start, and the status is 2."""
    given = [argument.format(now=recorded[1]) for argument in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "codoperf_otel.cli", "mcp", *given],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "codoperf: missing: No such file or directory\n"


def test_without_the_sdk_it_says_how_to_install_it(recorded):
    """One line names the extra."""
    blocked = "import sys; sys.modules['mcp'] = None; from codoperf_otel.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", blocked, "mcp", str(recorded[1])], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "codoperf: mcp needs the MCP SDK: pip install 'codoperf-otel[mcp]'\n"


def test_it_ends_when_the_client_goes(recorded):
    """The end of standard input ends it, with status 0."""
    done = subprocess.run(
        [sys.executable, "-m", "codoperf_otel.cli", "mcp", str(recorded[1])],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
