"""The demo: what the review finds is true of the tree, and what ran is what the telemetry says."""

from __future__ import annotations

import ast
import asyncio
import errno
import fcntl
import io
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import textwrap
import time
import tokenize
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from codoperf_otel import CacheManager, _telemetry
from codoperf_otel._workers import threads
from codoperf_otel.demo import Function, Review, SurveyError, review, sources, tools
from codoperf_otel.demo.analyses import lint, measure_functions

pytestmark = pytest.mark.once

ASYNCIO = Path(asyncio.__file__).parent

BRANCHES = """
def straight(x): return x

def loops(items):
    for item in items:
        while item:
            item -= 1
    else:
        pass
    return [a for b in items if b if not b for a in b]

class Box:
    async def guarded(self, a, b):
        try:
            async for _ in a:
                pass
        except ValueError:
            pass
        except (OSError if b else TypeError):
            pass

    def choose(self, a, b, c):
        if a and b or c:
            return 1
        elif a:
            return 2
        def inner(d):
            return d if d else lambda: d or a
        match a:
            case 1 | 2:
                return inner
            case [_, *_] if b:
                return 3
            case _:
                return 4
"""

COPIED = """
def first(rows):
    total = 0
    for row in rows:
        total += row.amount
    return total
"""
COPIED_AGAIN = """
class Ledger:
    async def other(self, rows):
        return sum(rows)

    def second(self): return 0

    @staticmethod
    def third(rows):  # in another layout

        total = 0  # so far
        for row in rows:
            total += (row.amount)
        return total
"""


def tree(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def program(number: int) -> str:
    """A file that has one function, like no other's of another number."""
    steps = "\n".join(
        f"    if value_{number} > {step}:\n        print({number * step})" for step in range(11)
    )
    return f"def work_{number}(value_{number}):\n{steps}\n"


@pytest.fixture
def cache(tmp_path: Path) -> CacheManager:
    return CacheManager(cache_dir=tmp_path / "cache")


def test_complexity_is_that_of_a_count_by_hand():
    """Each decision counts once, and a nested function is on its own."""
    measured = measure_functions(ast.parse(BRANCHES))
    assert {found["name"]: found["complexity"] for found in measured} == {
        "straight": 1,
        "loops": 1 + 2 + 4,
        "Box.guarded": 1 + 1 + 2 + 1,
        "Box.choose": 1 + 2 + 2 + 2,
        "Box.choose.inner": 1 + 2,
    }
    assert [found["line"] for found in measured] == sorted(found["line"] for found in measured)
    assert BRANCHES.splitlines()[measured[-1]["line"] - 1].strip() == "def inner(d):"


def functions(**texts: str) -> list[Function]:
    """The functions of these files."""
    return [
        Function(path=f"{name}.py", **measured)
        for name, text in texts.items()
        for measured in measure_functions(ast.parse(text))
    ]


def test_a_copy_is_found_whatever_its_layout():
    """Comments, parentheses, blank lines, depth and the name do not matter; the place is the function's."""
    (copy,) = tools.find_copies(functions(a=COPIED, b=COPIED_AGAIN))
    assert (copy.kind, copy.path, copy.line) == ("copy", "b.py", 9)
    assert copy.message == "Ledger.third is a copy of a.py:2"


def test_each_copy_of_a_function_is_a_finding():
    """Three places are two copies, both of the first one."""
    copies = tools.find_copies(functions(a=COPIED, b=COPIED, c=COPIED))
    assert [(copy.path, copy.message) for copy in copies] == [
        ("b.py", "first is a copy of a.py:2"),
        ("c.py", "first is a copy of a.py:2"),
    ]


def test_short_functions_and_other_arguments_are_no_copies():
    """What is on fewer lines is the same by chance, and a default is part of what a function is."""
    short = "def f(a):\n    if a:\n        return 1\n    return 2\n"
    assert tools.find_copies(functions(a=short, b=short)) == []
    assert tools.find_copies(functions(a=COPIED, b=COPIED.replace("(rows)", "(rows=())"))) == []


@pytest.mark.parametrize(
    ("content", "line", "says", "kind"),
    [
        (b"x = 1\ny = (\n", 2, "'(' was never closed", "syntax"),
        (b"if 1:\n        x = 1\n\ty = 2\n", 3, "TabError", "syntax"),
        (b"x = 1\n\nreturn x\n", 3, "outside function", "syntax"),
        (b"x = 1\0\n", 1, "null bytes", "syntax"),
        (b"# coding: none-such\n", 1, "unknown encoding", "syntax"),
        (b"x = 1\nif x is 1:\n    pass\n", 2, '"is" with', "lint"),
        (b"# coding: latin-1\nx = '\xe9'\nassert (x, 'no')\n", 3, "assertion is always true", "lint"),
    ],
)
def test_the_linter_names_the_line(content: bytes, line: int, says: str, kind: str):
    """What the compiler says, of errors and warnings, is a problem of the right line."""
    (problem,) = lint(content)
    assert (problem["line"], problem["kind"]) == (line, kind)
    assert says in problem["message"]


def test_clean_files_have_no_problem():
    """The linter says nothing about good code."""
    assert lint(b"x = 1\n") == []


def test_a_compiler_that_fails_is_a_problem_of_the_file(monkeypatch: pytest.MonkeyPatch):
    """Where the program ends without an answer, as one does that the system ends, its status is named."""
    monkeypatch.setattr(sys, "executable", "false")
    assert lint(b"") == [{"kind": "syntax", "line": 1, "message": "the compiler ended with status 1"}]


def test_survey_follows_no_link_and_enters_no_hidden_folder(tmp_path: Path):
    """Loops are not followed, other files are not taken, and names are sorted."""
    tree(tmp_path, {"b.py": "", "a/c.py": "", ".git/d.py": "", "e.txt": "", "a/folder.py/f.py": ""})
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "link.py").symlink_to(tmp_path / "b.py")
    os.mkfifo(tmp_path / "pipe.py")
    assert sources.survey(tmp_path).names == ("a/c.py", "a/folder.py/f.py", "b.py")


def test_survey_takes_one_file(tmp_path: Path):
    """A file is a tree of one."""
    tree(tmp_path, {"one.py": "", "two.py": ""})
    assert sources.survey(tmp_path / "one.py") == sources.Tree(tmp_path, ("one.py",))


def test_survey_says_why_there_is_nothing(tmp_path: Path):
    """A missing path, a folder without Python files and another file are told apart."""
    tree(tmp_path, {"notes.txt": "text"})
    os.mkfifo(tmp_path / "pipe.py")
    for path, reason in (
        (tmp_path / "missing", "No such file"),
        (tmp_path, "no Python file"),
        (tmp_path / "notes.txt", "no Python file"),
        (tmp_path / "pipe.py", "Not a directory"),
    ):
        with pytest.raises(SurveyError, match=reason) as raised:
            sources.survey(path)
        assert str(path) in str(raised.value)


def test_text_is_read_in_its_own_encoding(tmp_path: Path):
    """A cookie of PEP 263 counts, line ends are made one, and the last line may lack its end."""
    tree(tmp_path, {"a.py": b"# coding: latin-1\r\nx = '\xe9'"})
    source = tools.read_file(tmp_path, "a.py")
    assert source.text == "# coding: latin-1\nx = '\u00e9'"
    assert tools.summarise([source], []).lines == 2


@pytest.mark.parametrize(
    ("content", "line"),
    [(b"x = 1\n\n\nx = '\xff'\n", 4), (b"# coding: none-such\n", 1), (b"# coding: hex\n", 1)],
)
def test_bytes_that_are_no_text_have_a_line(tmp_path: Path, cache: CacheManager, content: bytes, line: int):
    """A file that its encoding does not fit says where."""
    (found,) = review(tree(tmp_path / "tree", {"a.py": content}), cache=cache).findings
    assert (found.kind, found.path, found.line) == ("unreadable", "a.py", line)


def test_every_problem_of_a_tree_is_a_finding(tmp_path: Path, cache: CacheManager):
    """Broken, unreadable, warned of, complex: each is named with file and line, and nothing else is."""
    files = {
        "broken.py": "def f(:\n",
        "deep.py": "x = " + "-" * 50_000 + "1\n",
        "binary.py": b"x = 1\n\n\ny = '\xff'\n",
        "warned.py": "x = 1\nif x is 1:\n    pass\n",
        "complex.py": "\n" + program(1),
        "copied.py": COPIED,
        "copied_again.py": COPIED_AGAIN,
        "empty.py": "",
    }
    found = review(tree(tmp_path / "tree", files), cache=cache)
    named = {(finding.kind, finding.path, finding.line) for finding in found.findings}
    assert named == {
        ("syntax", "broken.py", 1),
        ("syntax", "deep.py", 1),
        ("unreadable", "deep.py", 1),
        ("unreadable", "binary.py", 4),
        ("lint", "warned.py", 2),
        ("complexity", "complex.py", 2),
        ("copy", "copied_again.py", 9),
    }
    assert found.summary.files == 7


def test_what_cannot_be_read_is_a_finding(
    tmp_path: Path, cache: CacheManager, monkeypatch: pytest.MonkeyPatch
):
    """A file that went away and a folder that is closed are named; the others are reviewed."""
    folder = tree(tmp_path / "tree", {"good.py": "x = 1\n"})
    seen = sources.Tree(folder, ("gone.py", "good.py"), (("closed", "Permission denied"),))
    monkeypatch.setattr(sources, "survey", lambda path: seen)
    found = review(folder, cache=cache)
    assert {(f.path, f.line, f.message) for f in found.findings} == {
        ("closed", 0, "Permission denied"),
        ("gone.py", 1, "No such file or directory"),
    }
    assert found.summary.files == 1


def test_survey_names_closed_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder without permission is no reason to leave the others out."""
    tree(tmp_path, {"good.py": "", "closed/a.py": ""})
    scandir = os.scandir

    def refuse(path):  # root, who may run these tests, can read a folder whatever its mode
        if Path(path).name == "closed":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    surveyed = sources.survey(tmp_path)
    assert (surveyed.names, surveyed.closed) == (("good.py",), (("closed", "Permission denied"),))


def test_findings_do_not_depend_on_concurrency(tmp_path: Path):
    """One reviewer at a time or all at once: the same review."""
    names = ("locks.py", "proactor_events.py", "selector_events.py", "transports.py")
    folder = tree(tmp_path / "tree", {name: (ASYNCIO / name).read_bytes() for name in names})
    alone, together = (
        review(folder, concurrency=number, cache=CacheManager(cache_dir=tmp_path / str(number)))
        for number in (1, 12)
    )
    assert alone == together
    assert {finding.kind for finding in alone.findings} >= {"complexity", "copy"}


class Reviewed(NamedTuple):
    """A review of asyncio, the spans of it, and the CPU time that the process spent on it."""

    review: Review
    spans: list[ReadableSpan]
    cpu_seconds: float


def review_asyncio(folder: Path) -> Reviewed:
    """Review it as the demo does, with a cache of its own."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    _telemetry.bind(provider)
    threads.start()  # as `configure` does, with which the demo is run
    before = time.process_time()
    found = review(ASYNCIO, cache=CacheManager(cache_dir=folder / "cache"))
    spent = time.process_time() - before
    threads.stop()
    _telemetry.bind()
    provider.shutdown()
    return Reviewed(found, list(exporter.get_finished_spans()), spent)


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> Reviewed:
    """One review for several tests."""
    return review_asyncio(tmp_path_factory.mktemp("cache"))


def test_findings_are_true_of_the_standard_library(reviewed: Reviewed):
    """Functions are where the review says, and copies have the words of what they are copies of."""
    found = reviewed.review
    lines = {
        path.relative_to(ASYNCIO).as_posix(): path.read_text().splitlines() for path in ASYNCIO.rglob("*.py")
    }
    assert found.summary.files == len(lines)
    at = {f"{function['path']}:{function['line']}": function for function in found.functions}
    for function in found.functions:
        assert f"def {function['name'].rpartition('.')[2]}" in lines[function["path"]][function["line"] - 1]
    copies = [finding for finding in found.findings if finding.kind == "copy"]
    assert len(copies) > 5
    for finding in copies:
        name, _, place = finding.message.partition(" is a copy of ")
        copy, first = at[f"{finding.path}:{finding.line}"], at[place]
        assert copy["name"] == name
        assert copy is not first
        assert _words(lines, copy) == _words(lines, first)


def _words(lines: dict[str, list[str]], function: Function) -> list[str]:
    """The words of a function behind its name, without comments and layout."""
    text = "\n".join(lines[function["path"]][function["line"] - 1 : function["last_line"]]) + "\n"
    tokens = tokenize.generate_tokens(io.StringIO(textwrap.dedent(text)).readline)
    kinds = (tokenize.NAME, tokenize.OP, tokenize.NUMBER, tokenize.STRING)
    words = [token.string for token in tokens if token.type in kinds]
    return words[words.index("def") + 2 :]


@pytest.mark.measures
def test_self_cpu_adds_up_to_the_process(tmp_path: Path):
    """No CPU time of a review is outside its operations: within 5 % over the whole process."""
    reviewed = review_asyncio(tmp_path)
    charged = sum(span.attributes["codoperf.cpu.self_time"] for span in reviewed.spans)
    assert charged == pytest.approx(reviewed.cpu_seconds, rel=0.05)


def test_the_spans_are_those_that_the_docs_count(telemetry, tmp_path: Path, cache: CacheManager):
    """An empty cache: every tool ran on every file, under the agent that used it."""
    files = 10
    folder = tree(tmp_path / "tree", {f"m{number:02}.py": program(number) for number in range(files)})
    review(folder, cache=cache)
    assert Counter(span.name for span in telemetry.spans()) == {
        "code_review": 1,
        "survey": 1,
        "invoke_agent planner": 1,
        "invoke_agent complexity-reviewer": 2,
        "invoke_agent lint-reviewer": 2,
        "invoke_agent copy-reviewer": 1,
        "execute_tool read_file": files,
        "execute_tool run_linter": files,
        "execute_tool measure": 2 * files,
        "parse": files,
        "execute_tool find_copies": 1,
        "execute_tool stream_reports": 2,
        "execute_tool summarise": 1,
    }
    parents = {
        (span.name.rpartition(" ")[2], (telemetry.parent(span) or "").rpartition(" ")[2])
        for span in telemetry.spans()
    }
    assert parents == {
        ("code_review", ""),
        ("planner", "code_review"),
        ("survey", "planner"),
        ("read_file", "planner"),
        ("stream_reports", "planner"),
        ("summarise", "planner"),
        ("lint-reviewer", "planner"),
        ("run_linter", "lint-reviewer"),
        ("complexity-reviewer", "planner"),
        ("measure", "complexity-reviewer"),
        ("parse", "measure"),
        ("copy-reviewer", "planner"),
        ("measure", "copy-reviewer"),
        ("find_copies", "copy-reviewer"),
    }


def test_a_second_review_is_from_the_disk(telemetry, tmp_path: Path):
    """Another process would parse nothing and lint nothing: each analysis is on disk, or read from there."""
    files = 3
    folder = tree(tmp_path / "tree", {f"m{number}.py": program(number) for number in range(files)})
    before = _lookups(telemetry)
    first = review(folder, cache=CacheManager(cache_dir=tmp_path / "cache"))
    between = _lookups(telemetry)
    assert between - before == {("miss", None): 2 * files, ("hit", "memory"): files}
    telemetry.exporter.clear()
    assert review(folder, cache=CacheManager(cache_dir=tmp_path / "cache")) == first
    assert telemetry.spans("parse") == []
    assert _lookups(telemetry) - between == {("hit", "disk"): 2 * files, ("hit", "memory"): files}


def _lookups(telemetry) -> Counter[tuple[str, str | None]]:
    counted: Counter[tuple[str, str | None]] = Counter()
    for key, value in telemetry.values("codoperf.cache.lookups").items():
        attributes = dict(key)
        counted[attributes["codoperf.cache.result"], attributes.get("codoperf.cache.tier")] += value
    return counted


def test_a_failed_tool_is_an_error_of_its_span(telemetry, tmp_path: Path, cache: CacheManager):
    """Code that is not Python fails the tools that parse it, not the agents that use them."""
    review(tree(tmp_path / "tree", {"broken.py": "def f(:\n"}), cache=cache)
    failed = Counter(span.name for span in telemetry.spans() if "error.type" in span.attributes)
    assert failed == {"parse": 2, "execute_tool measure": 2}


def test_the_demo_uses_what_everybody_can_use():
    """Of codoperf_otel, its files import public names from the top, and each other."""
    folder = Path(sys.modules["codoperf_otel.demo"].__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("codoperf_otel"):
                assert node.module.startswith("codoperf_otel.demo") or node.module == "codoperf_otel"
                assert not [alias.name for alias in node.names if alias.name.startswith("_")]


def demo(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """``codoperf demo`` in a process of its own."""
    command = [sys.executable, "-m", "codoperf_otel.cli", "demo", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment(**variables), timeout=120)


def environment(**variables: str) -> dict[str, str]:
    """The variables of a program whose terminal says its size."""
    dropped = ("OTEL_", "COLUMNS", "LINES")
    return {name: value for name, value in os.environ.items() if not name.startswith(dropped)} | variables


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Three files that are good, one that is broken."""
    files: dict[str, str | bytes] = {f"m{number}.py": program(number) for number in range(3)}
    return tree(tmp_path / "project", {**files, "broken\x1b[2J.py": "def f(:\n"})


def test_the_command_shows_findings_and_trace(tmp_path: Path, project: Path):
    """Findings, trace, operations, agents and caches; no control characters; the files of this run alone."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "traces.jsonl").write_text("old\n")
    (out / "notes.txt").write_text("mine")
    ended = demo(project, "--out", out)
    assert "earlier runs" not in ended.stdout
    assert (ended.returncode, "Traceback" in ended.stderr) == (0, False)
    for text in ("m1.py:1", "cyclomatic complexity 12", "Syntax errors: 1", "invoke_agent planner", "Agents"):
        assert text in ended.stdout
    assert not [char for char in ended.stdout if not char.isprintable() and char != "\n"]
    assert "lint-reviewer: 4 files reviewed" in ended.stderr
    assert (out / "notes.txt").read_text() == "mine"
    assert "old" not in (out / "traces.jsonl").read_text()
    assert (out / "metrics.jsonl").stat().st_mode & 0o777 == 0o600


def test_progress_is_bars_on_a_terminal(tmp_path: Path, project: Path):
    """On a terminal each kind of reviewer has a bar while it works; stdout stays as it is."""
    ours, theirs = pty.openpty()
    command = [
        sys.executable,
        "-m",
        "codoperf_otel.cli",
        "demo",
        str(project),
        "--out",
        str(tmp_path),
        "--json",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=theirs, env=environment(TERM="xterm")
    ) as running:
        os.close(theirs)
        shown = _all_of(ours)
        assert running.stdout is not None
        assert json.loads(running.stdout.read())["review"]["summary"]["files"] == 4
    os.close(ours)
    assert running.returncode == 0
    assert "lint-reviewer" in shown
    assert "4/4" in shown


def test_findings_are_wrapped_between_words(tmp_path: Path, project: Path):
    """On a narrow terminal no word is broken, no line is too long, and what goes on is indented."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    command = [sys.executable, "-m", "codoperf_otel.cli", "demo", project, "--out", tmp_path]
    plain = environment(TERM="xterm", NO_COLOR="1")
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, env=plain):
        os.close(theirs)
        shown = _all_of(ours)
    os.close(ours)
    findings = re.sub(r"\x1b\[[0-9;]*m", "", shown).partition("Reviewed")[0].splitlines()
    assert max(map(len, findings)) <= 40
    assert "m1.py:1 work_1 has cyclomatic complexity 12" in " ".join(" ".join(findings).split())
    assert "    complexity 12" in findings


def _all_of(terminal: int) -> str:
    """What is written to a terminal until nobody can write any more."""
    shown = b""
    try:
        while part := os.read(terminal, 65536):
            shown += part
    except OSError:  # the other side is closed
        pass
    return shown.decode()


def test_json_is_one_document(tmp_path: Path, project: Path):
    """Findings and telemetry for a program: two reviews, each a tree."""
    found = json.loads(demo(project, "--out", tmp_path, "--json").stdout)
    assert found["review"]["summary"]["files"] == 4
    assert [tree["spans"][0]["name"] for tree in found["telemetry"]["trees"]] == ["code_review"] * 2
    loads = [(load["module"], load["operation"]) for load in found["telemetry"]["lazy_loads"]]
    assert loads == [("statistics", "execute_tool summarise")]


def test_the_second_pass_shows_a_cache_that_saves(tmp_path: Path, project: Path):
    """Every cache is hit and says what that saved, in one run; another run finds all of it on disk."""
    first, second = (json.loads(demo(project, "--out", tmp_path, "--json").stdout) for _ in range(2))
    assert first["review"] == second["review"]
    for caches in (first["telemetry"]["caches"], second["telemetry"]["caches"]):
        assert len(caches) == 2
        assert all(cache["hits"] > 0 and cache["saved_seconds"] > 0 for cache in caches)
    # what cannot be parsed is not kept; the first file, which cannot be parsed, is edited for the second pass
    misses = [{cache["name"].rpartition(".")[2]: cache["misses"] for cache in run["telemetry"]["caches"]}
              for run in (first, second)]  # fmt: skip
    assert misses == [{"_measure": 3 + 4, "lint": 4 + 1}, {"_measure": 4, "lint": 0}]


SCRIPT = Path(sys.executable).parent / "codoperf"


@pytest.mark.parametrize(
    ("folder", "command"),
    [
        (SCRIPT.parents[2], [SCRIPT.relative_to(SCRIPT.parents[2])]),
        (SCRIPT.parent, ["./codoperf"]),
        (Path("/"), [SCRIPT]),
        (Path("/"), [sys.executable, "-m", "codoperf_otel.cli"]),
    ],
    ids=["script below", "script here", "script elsewhere", "module"],
)
def test_the_last_line_is_a_command_that_works_as_typed(tmp_path: Path, project: Path, folder, command):
    """However the demo was called, the last line shows its telemetry again, though no program is on PATH."""
    variables = {**environment(), "PATH": "/nowhere"}
    command = [*map(str, command), "demo", str(project), "--out", str(tmp_path / "two words")]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=variables, check=True)
    told, _, again = ended.stdout.splitlines()[-1].partition(": ")
    assert told == "See it again"
    if folder != Path("/"):
        assert again.startswith(command[0])
    shown = subprocess.run(
        again, shell=True, executable="/bin/sh", cwd=folder, capture_output=True, text=True, env=variables
    )
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout in ended.stdout


USED = """
import sys
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor
from codoperf_otel import CacheManager, configure, demo
from codoperf_otel._report.agents import agents
from codoperf_otel._report.files import read

class Agents(SpanProcessor):
    used = []
    def note(self, span, parent_context=None):
        if span.name.startswith("invoke_agent"):
            usages = map(getrusage, (RUSAGE_SELF, RUSAGE_CHILDREN))
            self.used.append(sum(usage.ru_utime + usage.ru_stime for usage in usages))
    on_start = on_end = note

out = Path(sys.argv[2])
with configure("used", file=out):
    trace.get_tracer_provider().add_span_processor(Agents())
    demo.review(sys.argv[1], cache=CacheManager(cache_dir=out / "cache"))
found = agents(read(out).spans, ())
print(Agents.used[-1] - Agents.used[0], sum(agent.total_cpu_seconds for agent in found))
print({agent.name: agent.child_process_cpu_seconds or 0.0 for agent in found}["lint-reviewer"])
"""


@pytest.mark.measures
def test_agents_and_their_programs_used_what_the_process_used(tmp_path: Path):
    """Within 5 %, from the first agent's start to the last one's end; most of it in linters."""
    command = [sys.executable, "-c", USED, str(ASYNCIO), str(tmp_path)]
    ended = subprocess.run(
        command, capture_output=True, text=True, check=True, env=environment(), cwd=tmp_path
    )
    used, told, by_linters = map(float, ended.stdout.split())
    assert told == pytest.approx(used, rel=0.05)
    assert by_linters > used / 2


def test_the_readmes_sample_is_what_the_demo_prints(tmp_path: Path):
    """Each line of it is one that the demo prints today, figures aside."""
    ended = demo("--out", tmp_path)
    wide = subprocess.run(
        [SCRIPT, "view", tmp_path, "--width", "120"], capture_output=True, text=True, check=True
    ).stdout
    printed = {_without_figures(line) for line in (wide + ended.stdout).splitlines()}
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    (sample,) = re.findall(r"^```text\n(Trace .*?)^```$", readme, re.MULTILINE | re.DOTALL)
    assert {_without_figures(line) for line in sample.splitlines()} - printed - {"…"} == set()


def _without_figures(line: str) -> str:
    """A line with one mark for every figure, dash, bar and id, and without the path of a command."""
    line = re.sub(r"(?<=See it again: ).*", "", line)
    line = re.sub(r"(?<=^Trace )\w+|\d{4}-\d\d-\d\dT\d\d:\d\dZ", "#", line)
    line = re.sub(r"[+]?\d[\d.,]*( (ns|µs|ms|s|B|KiB|MiB|GiB|%|min))*|(?<= )\u2013(?!\S)", "#", line)
    return re.sub(r"\s+", " ", re.sub("━+", "", line)).strip()


def test_a_cache_of_earlier_runs_is_named(tmp_path: Path, project: Path):
    """The first review is not slow where an earlier run left results, and a line says why."""
    (tmp_path / "cache").mkdir(mode=0o700)
    ended = demo(project, "--out", tmp_path, OTEL_SDK_DISABLED="true")
    assert f"{tmp_path / 'cache'} held results of earlier runs" in ended.stdout


def test_a_disabled_sdk_leaves_no_trace(tmp_path: Path, project: Path):
    """The findings, one line that says that there is no trace, and no file of telemetry."""
    ended = demo(project, "--out", tmp_path, OTEL_SDK_DISABLED="true")
    assert ended.returncode == 0
    assert "cyclomatic complexity 12" in ended.stdout
    assert ended.stdout.splitlines()[-1] == "There is no trace: OTEL_SDK_DISABLED is true."
    assert list(tmp_path.glob("*.jsonl")) == []


def test_wrong_input_is_one_line_and_status_2(tmp_path: Path, project: Path):
    """A path that is missing or has no Python file, an output that cannot be written, a wrong setting."""
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for arguments, says in (
        ([tmp_path / "missing"], "No such file"),
        ([tmp_path / "empty"], "no Python file"),
        ([project, "--out", tmp_path / "file"], f"--out {tmp_path / 'file'}"),
        ([project, "--out", tmp_path / "file" / "below"], f"--out {tmp_path / 'file' / 'below'}"),
        ([project, "--out", tmp_path / "out", "--endpoint", "nowhere"], "endpoint is 'nowhere'"),
    ):
        ended = demo(*arguments)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert says in ended.stderr
        assert len(ended.stderr.splitlines()) == 1


def test_a_wrong_path_keeps_the_files_of_an_earlier_run(tmp_path: Path):
    """A typing mistake does not cost the trace that is there."""
    (tmp_path / "traces.jsonl").write_text("earlier\n")
    assert demo(tmp_path / "missing", "--out", tmp_path).returncode == 2
    assert (tmp_path / "traces.jsonl").read_text() == "earlier\n"


@pytest.mark.parametrize("number", ["0", "-1", "two", "1.5"])
def test_concurrency_is_a_number_of_one_or_more(number: str):
    """Anything else is refused by the command line."""
    ended = demo(f"--concurrency={number}")
    assert ended.returncode == 2
    assert f"{number!r} is not a number of 1 or more" in ended.stderr


def test_without_rich_there_is_one_line_before_any_work(tmp_path: Path, project: Path):
    """What the report needs is said at once; the JSON document needs nothing."""
    code = "import sys; sys.modules['rich'] = None; from codoperf_otel.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "demo", str(project), "--out", str(tmp_path / "out")]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=120)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "codoperf: this needs rich: pip install 'codoperf-otel[cli]'\n"
    assert not (tmp_path / "out").exists()
    ended = subprocess.run(
        [*command, "--json"], capture_output=True, text=True, env=environment(), timeout=120
    )
    assert json.loads(ended.stdout)["review"]["summary"]["files"] == 4


def test_an_interrupted_review_ends_with_130_and_its_spans(tmp_path: Path):
    """Ctrl-C: no traceback, and what had ended by then is in the file."""
    command = [
        sys.executable,
        "-m",
        "codoperf_otel.cli",
        "demo",
        "--out",
        str(tmp_path),
        "--concurrency",
        "2",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as running:
        assert running.stderr is not None
        running.stderr.readline()  # the first kind of reviewer is done
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    assert (running.returncode, "Traceback" in said) == (130, False)
    names = {span["name"] for span in _written(tmp_path)}
    assert names >= {"code_review", "invoke_agent planner", "execute_tool read_file"}


def _written(folder: Path) -> list[dict]:
    lines = (folder / "traces.jsonl").read_text().splitlines()
    return [
        span
        for line in lines
        for resource in json.loads(line)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


class _Receiver(BaseHTTPRequestHandler):
    """Takes what OTLP over HTTP brings."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received[self.path] += 1
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments):
        pass


def test_with_an_endpoint_a_short_review_is_repeated(tmp_path: Path, project: Path):
    """Three exports of metrics at least, and hits in them; the files are written as well."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Receiver) as server:
        server.received = Counter()
        Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        ended = demo(
            project, "--out", tmp_path, "--endpoint", endpoint, "--json",
            OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
        )  # fmt: skip
        server.shutdown()
    assert ended.returncode == 0
    assert server.received["/v1/metrics"] >= 3
    assert server.received["/v1/traces"] >= 1
    telemetry = json.loads(ended.stdout)["telemetry"]
    assert len(telemetry["trees"]) >= 3
    assert sum(cache["hits"] for cache in telemetry["caches"]) > 0
