"""The demo: what the review finds is true of the tree, and what ran is what the telemetry says."""

from __future__ import annotations

import ast
import asyncio
import difflib
import errno
import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
import tokenize
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from codoperf_otel import CacheManager, _telemetry
from codoperf_otel.demo import Review, complexity, linting, notes, repeats, review, similarity, sources
from codoperf_otel.demo.sources import SurveyError, UndecodableError

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
        if row.open:
            total += row.amount
            row.seen = True
        else:
            row.seen = False
    return total
"""
COPIED_AGAIN = '''
class Ledger:
    """Another layout, and comments."""

    def second(self, rows, more):

        total = 0  # so far
        for row in rows:

            if (row.open):
                total += row.amount
                # seen
                row.seen = True
            else:
                row.seen = False
        return total

    def third(self): return ("no", "copy")
'''


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
    measured = complexity.measure(ast.parse(BRANCHES))
    assert {found["name"]: found["complexity"] for found in measured} == {
        "straight": 1,
        "loops": 1 + 2 + 4,
        "Box.guarded": 1 + 1 + 2 + 1,
        "Box.choose": 1 + 2 + 2 + 2,
        "Box.choose.inner": 1 + 2,
    }
    assert [found["line"] for found in measured] == sorted(found["line"] for found in measured)
    assert BRANCHES.splitlines()[measured[-1]["line"] - 1].strip() == "def inner(d):"


def test_a_repeated_block_is_found_whatever_its_layout():
    """Comments, parentheses, blank lines and depth do not matter; the lines are those of the block."""
    outlines = {
        "a.py": repeats.outline(ast.parse(COPIED)),
        "b.py": repeats.outline(ast.parse(COPIED_AGAIN)),
    }
    assert repeats.find(outlines) == [[("a.py", 3, 10), ("b.py", 7, 16)]]


def test_the_same_statements_in_other_blocks_are_no_repeat():
    """Where a block ends is part of what it is."""
    flat = COPIED.replace("            row.seen = True", "        row.seen = True").replace(
        "        else:\n", ""
    )
    outlines = {
        "a.py": repeats.outline(ast.parse(COPIED)),
        "b.py": repeats.outline(
            ast.parse(flat.replace("            row.seen = False", "        row.seen = False"))
        ),
    }
    assert repeats.find(outlines) == []


def test_a_block_at_three_places_and_a_longer_one_at_two():
    """The longer one is first, and the shorter one is given because it is at one more place."""
    short = "\n".join(f"step({number})" for number in range(repeats.MIN_STATEMENTS)) + "\n"
    outlines = {
        "a.py": repeats.outline(ast.parse("start()\n" + short)),
        "b.py": repeats.outline(ast.parse("x = 1\nstart()\n" + short)),
        "c.py": repeats.outline(ast.parse("y = 2\n" + short)),
    }
    assert repeats.find(outlines) == [
        [("a.py", 1, 7), ("b.py", 2, 8)],
        [("a.py", 2, 7), ("b.py", 3, 8), ("c.py", 2, 7)],
    ]


def test_places_of_a_repeat_do_not_overlap():
    """A long run of one statement is repeated as often as the block fits."""
    outlines = {"a.py": repeats.outline(ast.parse("step()\n" * (2 * repeats.MIN_STATEMENTS)))}
    places = [place for block in repeats.find(outlines) for place in block]
    assert places == [("a.py", 1, 6), ("a.py", 7, 12)]


def placed(**texts: str) -> list[similarity.Placed]:
    """The blocks of these files, sorted as they are compared."""
    blocks = [
        similarity.Placed(path=f"{name}.py", **block)
        for name, text in texts.items()
        for block in similarity.blocks(ast.parse(text))
    ]
    return sorted(blocks, key=lambda block: block["length"])


def pairs(blocks: list[similarity.Placed]) -> list[similarity.Pair]:
    matches = similarity.near_copies(blocks, len(blocks))
    return [similarity.Pair(blocks[m["one"]], blocks[m["other"]], m["percent"]) for m in matches]


SUM = "\n".join(f"    total = total + values[{number}] * rate" for number in range(10))
OTHER = "\n".join(f"    while check(left, {number}): left = right" for number in range(10))


def test_near_copies_name_the_best_match():
    """A function with a few names changed is found, one that is only as long is not."""
    blocks = placed(
        a=f"def one(values, rate):\n    total = 0\n{SUM}\n    return total\n",
        b=f"\n\ndef two(values, rate):\n    total = 1\n{SUM}\n    return total + 1\n",
        c=f"def three(left, right):\n{OTHER}\n",
    )
    (pair,) = pairs(blocks)
    assert (pair.one["path"], pair.one["first"], pair.other["path"], pair.other["first"]) == (
        "a.py",
        1,
        "b.py",
        3,
    )
    expected = difflib.SequenceMatcher(
        None, similarity.words(pair.other["code"]), similarity.words(pair.one["code"]), autojunk=False
    ).ratio()
    assert pair.percent == int(100 * expected) > 90


def test_a_block_is_no_copy_of_what_it_is_in():
    """Neither what encloses a block nor the inner blocks of two copies are pairs of their own."""
    text = f"def {{}}(values, rate, total):\n  if rate:\n{SUM}\n"
    blocks = placed(a=text.format("one"), b=text.format("two"))
    assert len(blocks) == 4
    found = [(p.one["name"], p.other["name"]) for p in similarity.outermost(pairs(blocks))]
    assert found == [("one", "two")]


@pytest.mark.parametrize(
    ("content", "line", "says", "fatal"),
    [
        (b"x = 1\ny = (\n", 2, "'(' was never closed", True),
        (b"if 1:\n        x = 1\n\ty = 2\n", 3, "TabError", True),
        (b"x = 1\n\nreturn x\n", 3, "outside function", True),
        (b"x = 1\0\n", 1, "null bytes", True),
        (b"# coding: none-such\n", 1, "unknown encoding", True),
        (b"x = 1\nif x is 1:\n    pass\n", 2, '"is" with', False),
        (b"# coding: latin-1\nx = '\xe9'\nassert (x, 'no')\n", 3, "assertion is always true", False),
    ],
)
def test_py_compile_names_the_line(content: bytes, line: int, says: str, fatal: bool):
    """What the compiler says, of errors and warnings, is a problem of the right line."""
    (problem,) = linting.lint("py_compile", content)
    assert (problem["line"], problem["fatal"]) == (line, fatal)
    assert says in problem["message"]


def test_tabnanny_names_the_line():
    """Mixed indentation is a problem; what is no text is for the compiler to report."""
    assert [p["line"] for p in linting.lint("tabnanny", b"if 1:\n        x = 1\n\ty = 2\n")] == [3]
    assert linting.lint("tabnanny", b"\xff\xfe") == []


def test_clean_files_have_no_problem():
    """Neither linter says anything of good code, and nothing is left beside it."""
    assert [linting.lint(linter, b"x = 1\n") for linter in linting.LINTERS] == [[], []]


def test_notes_are_comments():
    """A string is none, and what cannot be split into tokens is no Python."""
    assert notes.find("x = 'TODO'\n\ny = 1  # TODO: more\n# HACKED\n") == [
        {"line": 3, "message": "TODO: more"}
    ]
    with pytest.raises(SyntaxError):
        notes.find("x = (\n")


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
    for path, reason in (
        (tmp_path / "missing", "No such file"),
        (tmp_path, "no Python file"),
        (tmp_path / "notes.txt", "neither a folder nor a Python file"),
    ):
        with pytest.raises(SurveyError, match=reason) as raised:
            sources.survey(path)
        assert str(path) in str(raised.value)


def test_text_is_read_in_its_own_encoding(tmp_path: Path):
    """A cookie of PEP 263 counts, line ends are made one, and the last line may lack its end."""
    tree(tmp_path, {"a.py": b"# coding: latin-1\r\nx = '\xe9'"})
    source = sources.read(tmp_path, "a.py")
    assert source.text == "# coding: latin-1\nx = '\u00e9'"
    assert source.lines == 2


@pytest.mark.parametrize(
    ("content", "line"),
    [(b"x = 1\n\n\nx = '\xff'\n", 4), (b"# coding: none-such\n", 1), (b"# coding: hex\n", 1)],
)
def test_bytes_that_are_no_text_have_a_line(tmp_path: Path, content: bytes, line: int):
    """A file that its encoding does not fit says where."""
    tree(tmp_path, {"a.py": content})
    with pytest.raises(UndecodableError) as raised:
        sources.read(tmp_path, "a.py")
    assert raised.value.line == line


def test_every_problem_of_a_tree_is_a_finding(tmp_path: Path, cache: CacheManager):
    """Broken, unreadable, warned of, complex: each is named with file and line, and nothing else is."""
    files = {
        "broken.py": "def f(:\n",
        "deep.py": "x = " + "-" * 50_000 + "1\n",
        "binary.py": b"x = 1\n\n\ny = '\xff'\n",
        "warned.py": "x = 1\nif x is 1:\n    pass\n",
        "complex.py": "\n" + program(1),
        "noted.py": "x = 'TODO'\n# FIXME: now\n",
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
        ("note", "noted.py", 2),
    }
    assert found.summary.files == 6
    assert found.summary.findings == Counter(finding.kind for finding in found.findings)


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
    names = ("locks.py", "queues.py", "timeouts.py", "transports.py")
    folder = tree(tmp_path / "tree", {name: (ASYNCIO / name).read_bytes() for name in names})
    alone, together = (
        review(folder, concurrency=number, cache=CacheManager(cache_dir=tmp_path / str(number)))
        for number in (1, 12)
    )
    assert alone == together
    assert {finding.kind for finding in alone.findings} >= {"repeat", "near-copy"}


class Reviewed(NamedTuple):
    """A review of asyncio, the spans of it, and the CPU time that the process spent on it."""

    review: Review
    spans: list[ReadableSpan]
    cpu_seconds: float


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reviewed]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    _telemetry.bind(provider)
    before = time.process_time()
    found = review(ASYNCIO, cache=CacheManager(cache_dir=tmp_path_factory.mktemp("cache") / "cache"))
    spent = time.process_time() - before
    yield Reviewed(found, list(exporter.get_finished_spans()), spent)
    _telemetry.bind()
    provider.shutdown()


def test_findings_are_true_of_the_standard_library(reviewed: Reviewed):
    """Functions are where the review says, and the places of each repeat have the same tokens."""
    found = reviewed.review
    lines = {
        path.relative_to(ASYNCIO).as_posix(): path.read_text().splitlines() for path in ASYNCIO.rglob("*.py")
    }
    assert found.summary.files == len(lines)
    for function in found.functions:
        assert f"def {function.name.rpartition('.')[2]}" in lines[function.path][function.line - 1]
    repeated = [finding for finding in found.findings if finding.kind == "repeat"]
    assert len(repeated) > 10
    for finding in repeated:
        first, *others = (_tokens(lines, place) for place in finding.places)
        assert others
        assert all(other == first for other in others)


def test_self_cpu_adds_up_to_the_process(reviewed: Reviewed):
    """No CPU time of a review is outside its operations: within 5 % over the whole process."""
    charged = sum(
        span.attributes.get("codoperf.cpu.self_time", span.attributes["codoperf.cpu.time"])
        for span in reviewed.spans
    )
    assert charged == pytest.approx(reviewed.cpu_seconds, rel=0.05)


def _tokens(lines: dict[str, list[str]], place: str) -> list[str]:
    """The words of a block without comments and layout; a first ``elif`` is an ``if``."""
    name, _, numbers = place.rpartition(":")
    first, last = map(int, numbers.split("-"))
    text = "\n".join(lines[name]) + "\n"
    words = [
        token.string
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if first <= token.start[0] <= last
        and token.type in (tokenize.NAME, tokenize.OP, tokenize.NUMBER, tokenize.STRING)
    ]
    return [words[0].removeprefix("el"), *words[1:]]


def test_the_spans_are_those_that_the_docs_count(telemetry, tmp_path: Path, cache: CacheManager):
    """An empty cache: every tool ran on every file, under the agent that used it."""
    files = 10
    folder = tree(tmp_path / "tree", {f"m{number:02}.py": program(number) for number in range(files)})
    review(folder, cache=cache)
    assert Counter(span.name for span in telemetry.spans()) == {
        "code_review": 1,
        "survey": 1,
        "invoke_agent planner": 1,
        "invoke_agent similarity-reviewer": 1,
        "invoke_agent duplication-reviewer": 1,
        "invoke_agent complexity-reviewer": 2,
        "invoke_agent lint-reviewer": 2,
        "invoke_agent comment-reviewer": 2,
        "execute_tool find_notes": files,
        "execute_tool read_file": files,
        "execute_tool parse": 3 * files,
        "execute_tool measure_complexity": files,
        "execute_tool run_linter": 2 * files,
        "execute_tool find_repeats": 1,
        "execute_tool find_near_copies": 1,
        "execute_tool stream_findings": 1,
        "execute_tool summarise": 1,
        "outline": files,
        "list_blocks": files,
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
        ("stream_findings", "planner"),
        ("summarise", "planner"),
        ("complexity-reviewer", "planner"),
        ("lint-reviewer", "planner"),
        ("comment-reviewer", "planner"),
        ("find_notes", "comment-reviewer"),
        ("duplication-reviewer", "planner"),
        ("similarity-reviewer", "planner"),
        ("measure_complexity", "complexity-reviewer"),
        ("parse", "measure_complexity"),
        ("run_linter", "lint-reviewer"),
        ("find_repeats", "duplication-reviewer"),
        ("outline", "duplication-reviewer"),
        ("parse", "outline"),
        ("list_blocks", "similarity-reviewer"),
        ("parse", "list_blocks"),
        ("find_near_copies", "similarity-reviewer"),
    }


def test_a_second_review_is_from_the_disk(telemetry, tmp_path: Path):
    """Another process would parse nothing and lint nothing: each analysis is a hit of the disk tier."""
    folder = tree(tmp_path / "tree", {f"m{number}.py": program(number) for number in range(3)})
    lookups = 3 * (1 + 1 + 1 + 1 + 2) + 1
    before = _lookups(telemetry)
    first = review(folder, cache=CacheManager(cache_dir=tmp_path / "cache"))
    between = _lookups(telemetry)
    assert between - before == {("miss", None): lookups}
    telemetry.exporter.clear()
    assert review(folder, cache=CacheManager(cache_dir=tmp_path / "cache")) == first
    assert telemetry.spans("execute_tool parse") == []
    assert _lookups(telemetry) - between == {("hit", "disk"): lookups}


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
    assert failed == {
        "execute_tool parse": 3,
        "execute_tool measure_complexity": 1,
        "outline": 1,
        "list_blocks": 1,
        "execute_tool find_notes": 1,
    }


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
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return {**kept, **variables}


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
    """Findings and telemetry for a program, from a first run and from one that hits the disk."""
    first, second = (json.loads(demo(project, "--out", tmp_path, "--json").stdout) for _ in range(2))
    assert first["review"] == second["review"]
    assert first["review"]["summary"]["files"] == 4
    (tree_,) = first["telemetry"]["trees"]
    assert tree_["spans"][0]["name"] == "code_review"
    loads = {(load["module"], load["operation"]) for load in first["telemetry"]["lazy_loads"]}
    assert loads >= {
        ("statistics", "execute_tool summarise"),
        ("difflib", "execute_tool find_near_copies"),
    }
    assert sum(cache["misses"] for cache in first["telemetry"]["caches"]) > 0
    tiers = [tier for cache in second["telemetry"]["caches"] for tier in cache["hits_by_tier"]]
    assert set(tiers) == {"disk"}


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
