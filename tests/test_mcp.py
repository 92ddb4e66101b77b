"""`codoperf mcp`: what an agent asks of its own telemetry, by the official client over standard streams."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from live_programs import LONG, Program
from mcp import Client, StdioServerParameters

from codoperf_otel._environment_variables import LIVE_DIR
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
    return record(folder / "before", 0.004), record(folder / "now", 0.2)


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
        assert "\n  " not in tool.description
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
    """An operation that takes longer is slower by a rank test, and is listed up to its slowdown."""
    before, now = recorded
    _, (answer,) = ask([("compare_benchmarks", {"operation": "work"})], now, "--baseline", before)
    work = rows(answer)
    assert (work["verdict"], work["calls_before"], work["calls_now"]) == ("slower", 8, 8)
    # a loaded machine may make any operation slower, and decides by how much
    bounds = [("check_regression", {"max_slowdown": work["change"] * share}) for share in (0.5, 1.5)]
    _, answers = ask(bounds, now, "--baseline", before)
    within, beyond = ([row["operation"] for row in rows(each)] for each in answers)
    assert "work" in within
    assert "work" not in beyond


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        (
            "compare_benchmarks",
            {"operation": "wurk"},
            "'wurk' was not called both before and now: there is 'work'",
        ),
        ("performance_stats", {"operation": "nobody"}, "'nobody' was not called: there is '"),
        ("performance_stats", {"operation": "wurk"}, "'wurk' was not called: there is 'work'"),
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


@pytest.mark.parametrize("name", ["compare_benchmarks", "performance_stats"])
def test_a_very_long_name_is_not_echoed(recorded, name):
    """The client gets the beginning of what it asked for."""
    before, now = recorded
    _, (wrong,) = ask([(name, {"operation": "x" * 100_000})], now, "--baseline", before)
    assert wrong.is_error
    assert len(wrong.content[0].text) < 500


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


@pytest.fixture
def live_folder(monkeypatch):
    """Where programs listen, and where the server looks for them."""
    with tempfile.TemporaryDirectory(prefix="live") as folder:
        monkeypatch.setenv(LIVE_DIR, folder)
        yield Path(folder)


@pytest.fixture
def started(live_folder):
    """Starts programs that listen, and ends those that are left."""
    programs = []

    def start():
        programs.append(Program("co.configure(live=True)"))
        programs[-1].do("review()")
        return programs[-1]

    yield start
    for program in programs:
        with suppress(ValueError):  # it has ended
            program.end()


def test_a_program_that_runs_is_asked(started, recorded):
    """Every tool answers, with the same schema as of a recording, and what is new is there at once."""
    before, _ = recorded
    program = started()

    async def asking():
        arguments = ["-m", "codoperf_otel.cli", "mcp", "--baseline", str(before)]
        # the client hands on few variables of its own
        server = StdioServerParameters(command=sys.executable, args=arguments, env=dict(os.environ))
        async with Client(server) as client:
            tools = (await client.list_tools()).tools
            first = [await client.call_tool(name, {}) for name in sorted(ALWAYS)]
            program.do("review(); [work() for _ in range(500)]")
            second = await client.call_tool("performance_stats", {"operation": "work"})
            compared = await client.call_tool("compare_benchmarks", {"operation": "work"})
            regressed = await client.call_tool("check_regression", {})
            return tools, first, second, compared, regressed

    tools, first, second, compared, regressed = asyncio.run(asking())
    assert {tool.name for tool in tools} == ALWAYS | COMPARING
    (agent,), (cache,), operations, resources, slowest = map(rows, first)
    assert (agent["name"], agent["runs"], agent["cache_hits"]) == ("reviewer", 1, 4)
    assert (cache["name"], cache["lookups"], cache["hits_by_tier"]) == ("__main__.look_up", 5, {"memory": 4})
    assert {row["name"]: row["calls"] for row in operations} == {
        "__main__.bare": 5, "work": 5, "execute_tool grep": 1, "block": 1, "invoke_agent reviewer": 1,
    }  # fmt: skip
    assert (resources["spans"], resources["processes"], resources["errors"]) == (None, 1, 1)
    assert {row["name"] for row in slowest} == {row["name"] for row in operations}
    assert {row["agent"]: row["calls"] for row in rows(second)} == {None: 500, "reviewer": 10}
    assert (rows(compared)["verdict"], rows(compared)["calls_before"]) == ("faster", 8)
    assert rows(regressed) == []
    assert {json.dumps(tool.output_schema) for tool in tools} == {
        json.dumps(tool.output_schema) for tool in ask([], before, "--baseline", before)[0]
    }


def test_a_program_may_come_and_go(started, live_folder):
    """Where none runs, or several do, the client is told so; the next one is asked without a new start."""

    async def asking():
        server = StdioServerParameters(
            command=sys.executable, args=["-m", "codoperf_otel.cli", "mcp"], env=dict(os.environ)
        )
        async with Client(server) as client:
            answers = [await client.call_tool("resource_report", {})]
            for number in (1, 2):
                programs = [started() for _ in range(number)]
                answers.append(await client.call_tool("resource_report", {}))
                for program in programs:
                    program.end()
            return answers, sorted(program.pid for program in programs)

    (nobody, one, several), pids = asyncio.run(asking())
    assert nobody.is_error
    assert nobody.content[0].text.endswith(
        f"no process listens in {live_folder}: start the program with configure(live=True)"
    )
    assert rows(one)["processes"] == 1
    assert several.is_error
    assert several.content[0].text.endswith(f"choose one with --pid: {pids[0]}, {pids[1]}")


def test_a_process_that_does_not_listen_is_one_line(live_folder):
    """The server does not start, and the status is 2."""
    done = subprocess.run(
        [sys.executable, "-m", "codoperf_otel.cli", "mcp", "--pid", "1"],
        capture_output=True, text=True, check=False, timeout=LONG,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"codoperf: no process 1 listens in {live_folder}: start the program with configure(live=True)\n"
    )


def test_a_recording_or_a_process(recorded):
    """Only one of them can be asked."""
    done = subprocess.run(
        [sys.executable, "-m", "codoperf_otel.cli", "mcp", str(recorded[1]), "--pid", "1"],
        capture_output=True, text=True, check=False, timeout=LONG,
    )  # fmt: skip
    assert done.returncode == 2
    assert "not allowed with argument" in done.stderr
