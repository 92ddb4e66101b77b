"""`codoperf imports` shows what each import of a program cost, by the interpreter's own measure."""

from __future__ import annotations

import json
import marshal
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from codoperf_otel._imports import tracing
from codoperf_otel._imports.costs import packages, total_ns, tree
from codoperf_otel._report.files import read
from codoperf_otel._telemetry import names

FILES = {
    "heavy/__init__.py": "import time\ntime.sleep(0.03)\nfrom heavy import part\n",
    "heavy/part.py": "import time\ntime.sleep(0.02)\n",
    "space/inner.py": "value = 1\n",
    "circle_a.py": "import circle_b\n",
    "circle_b.py": "import circle_a\n",
    "failing.py": "import light\nraise LookupError('inside')\n",
    "light.py": "",
}
PROGRAM = """import heavy
import sys
import space.inner
import circle_a
try:
    import failing
except LookupError:
    pass
try:
    import no_such_module_here
except ImportError:
    pass
import importlib
importlib.import_module("_ctypes")
importlib.reload(heavy.part)
print(__name__, sys.argv, "runpy" in sys.modules, "codoperf_otel" in sys.modules)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder, the current one, with a program and what it imports."""
    for name, text in {"program.py": PROGRAM, **FILES}.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``codoperf imports``."""
    command = [sys.executable, "-m", "codoperf_otel.cli", "imports", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def document(*arguments: str) -> dict:
    """What ``--json`` prints."""
    return json.loads(run("--json", *arguments).stdout)


def flat(imports: list[dict]) -> dict[str, dict]:
    """Every import by its module."""
    found = {}
    for one in imports:
        found |= {one["module"]: one, **flat(one["imports"])}
    return found


def test_imports_are_a_tree_with_their_own_times(folder):
    """An import is inside the one that led to it, and its time is not in the self time of that."""
    shown = document("program.py")
    modules = [one["module"] for one in shown["imports"]]
    assert modules[:3] == ["heavy", "space.inner", "circle_a"]
    heavy = shown["imports"][0]
    (part,) = [one for one in heavy["imports"] if one["module"] == "heavy.part"]
    assert part["seconds"] >= 0.02
    assert heavy["seconds"] >= heavy["self_seconds"] + part["seconds"] - 1e-9  # as sums of floats are
    assert heavy["self_seconds"] >= 0.03
    assert heavy["cpu_seconds"] < heavy["seconds"] - 0.04  # of which two modules slept
    assert heavy["asked_by"] == {"file": "program.py", "line": 1}
    assert part["asked_by"] == {"file": str(folder / "heavy" / "__init__.py"), "line": 3}
    assert heavy["file"] == str(folder / "heavy" / "__init__.py")
    assert shown["total_seconds"] == pytest.approx(sum(one["seconds"] for one in shown["imports"]))
    assert shown["packages"][0]["name"] == "heavy"
    assert shown["packages"][0]["modules"] == 2


def test_every_kind_of_import_is_there(folder):
    """Namespace packages, circles, failures, extension modules and `import_module`; a reload is no import."""
    found = flat(document("program.py")["imports"])
    assert found["space"]["file"] is None
    assert "circle_b" in found
    assert found["failing"]["error"] == "LookupError"
    assert "light" in found
    assert found["no_such_module_here"]["error"] == "ModuleNotFoundError"
    assert found["_ctypes"]["asked_by"] == {"file": "program.py", "line": 14}
    assert sum(name == "heavy.part" for name in found) == 1


def test_compiled_code_asks_without_a_line(folder):
    """An extension module has no lines: what it imports is asked by its file, not by the last Python line."""
    (folder / "pickling.py").write_text("import _pickle\n")
    found = flat(document("pickling.py")["imports"])
    assert found["_pickle"]["asked_by"] == {"file": "pickling.py", "line": 1}
    assert found["_compat_pickle"]["asked_by"] == {
        "file": found["_pickle"]["file"] or "built-in",
        "line": None,
    }


def test_frozen_modules_ask_as_others_do(folder):
    """The modules of the import system itself are named where they import."""
    names = "'importlib.util', 'importlib._abc'"
    text = f"import sys\nfor name in ({names}):\n    sys.modules.pop(name, None)\nimport importlib.util\n"
    (folder / "finding.py").write_text(text)
    found = flat(document("finding.py")["imports"])
    assert found["importlib.util"]["asked_by"] == {"file": "finding.py", "line": 4}
    assert "importlib" in found["importlib._abc"]["asked_by"]["file"]
    assert found["importlib._abc"]["asked_by"]["line"] > 0


def test_imports_of_threads_and_at_exit_are_there(folder):
    """A thread that outlives the script, and what is done at exit, belong to the program."""
    text = (
        "import atexit, threading, time\natexit.register(lambda: __import__('light'))\n"
        "def late():\n    time.sleep(0.1)\n    import heavy\n    print('ended')\n"
        "threading.Thread(target=late).start()\n"
    )
    (folder / "late.py").write_text(text)
    shown = run("--json", "late.py")
    assert shown.stderr == "ended\n"
    assert {"atexit", "heavy.part", "light"} <= flat(json.loads(shown.stdout)["imports"]).keys()


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_folder_or_archive_with_a_main_is_run(folder, kind):
    """What `python` runs of a folder or an archive is run, with its own path and arguments."""
    main = "import sys, inside\nprint(__name__, sys.argv, sys.path[0], 'runpy' in sys.modules)\n"
    (folder / "packed").mkdir()
    for name, text in {"__main__.py": main, "inside.py": ""}.items():
        (folder / "packed" / name).write_text(text)
    target = "packed"
    if kind == "archive":
        target = Path(shutil.make_archive("archived", "zip", "packed")).name
    plain = subprocess.run([sys.executable, target, "one"], capture_output=True, text=True, check=True)
    shown = run("--json", target, "one")
    assert shown.stderr == plain.stdout
    assert "inside" in flat(json.loads(shown.stdout)["imports"])


def test_program_runs_as_it_is(folder):
    """It is `__main__`, has its own arguments, and nothing of this package or of its needs is imported."""
    shown = run("program.py", "--check", "argument")
    assert shown.stdout.startswith("__main__ ['program.py', '--check', 'argument'] False False\n")
    assert shown.returncode == 0


def test_module_is_run(folder):
    """`-m` runs a module, and its package is among the imports."""
    (folder / "heavy" / "__main__.py").write_text("import sys\nprint(sys.argv[1:], __package__)\n")
    shown = run("--json", "-m", "heavy", "one")
    assert shown.stderr == "['one'] heavy\n"
    assert "heavy.part" in flat(json.loads(shown.stdout)["imports"])


def test_safe_path_holds(folder, monkeypatch):
    """The program's path is what it is under `python`, with `PYTHONSAFEPATH` too."""
    (folder / "path.py").write_text("import sys\nprint(sys.path)\n")
    plain = [sys.executable, "path.py"]
    assert run("--no-advice", "path.py").stdout.startswith(subprocess.check_output(plain, text=True))
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    assert run("--no-advice", "path.py").stdout.startswith(subprocess.check_output(plain, text=True))


@pytest.mark.parametrize(
    ("end", "status"), [("sys.exit(3)", 3), ("1 / 0", 1), ("os.kill(os.getpid(), 15)", None), ("", 0)]
)
def test_status_is_the_programs(folder, end, status):
    """The status is the program's; one that is killed leaves no record, which is said."""
    (folder / "ending.py").write_text(f"import os, sys, light\n{end}\n")
    shown = run("--json", "ending.py")
    if status is None:
        assert shown.returncode == 2
        assert "ending.py: it ended, with status -15, before its imports were written" in shown.stderr
    else:
        assert shown.returncode == status
        assert "light" in flat(json.loads(shown.stdout)["imports"])


def test_forked_child_writes_nothing(folder):
    """A child that ends as programs do leaves the parent's record alone."""
    text = "import os, sys, light\nif os.fork() == 0:\n    import heavy\n    sys.exit()\nos.wait()\n"
    (folder / "forking.py").write_text(text)
    assert "heavy" not in flat(document("forking.py")["imports"])


def test_traceback_of_a_missing_module_is_as_before(folder):
    """No frame of the import system, or of what stands around it, is in the traceback of a failed import."""
    (folder / "missing.py").write_text("import no_such_module_here\n")
    shown = run("missing.py")
    assert shown.returncode == 1
    assert "frozen" not in shown.stderr
    assert "_find_and_load" not in shown.stderr


def test_error_has_its_whole_name(folder):
    """An error that is no built-in one is named with its module."""
    (folder / "own_error.py").write_text("class OwnError(Exception): pass\nraise OwnError\n")
    (folder / "raising.py").write_text("try:\n    import own_error\nexcept Exception:\n    pass\n")
    assert document("raising.py")["imports"][0]["error"] == "own_error.OwnError"


INTERRUPTED = """
import signal

def expired(*_):
    raise TimeoutError

def search():  # ends: what a handler raises in a weak reference's callback is lost
    for _ in range(500):
        try:
            import no_such_module_here
        except ModuleNotFoundError:
            pass

signal.signal(signal.SIGALRM, expired)
for delay in range(1, 20):
    try:
        signal.setitimer(signal.ITIMER_REAL, delay / 20_000)
        search()
    except TimeoutError:
        pass
    signal.setitimer(signal.ITIMER_REAL, 0)
import light
"""


def test_import_that_a_signal_handler_ends_leaves_nothing_behind(folder):
    """However an exception of a handler hits an import, the next one is nobody's child."""
    (folder / "interrupted.py").write_text(INTERRUPTED)
    assert "light" in {one["module"] for one in document("interrupted.py")["imports"]}


CLOSING = """
import os, signal
os.closerange(3, 20)
import light
read = os.pread
def expired(*_):
    raise TimeoutError
def interrupted(*_):
    signal.raise_signal(signal.SIGALRM)
os.pread = interrupted
signal.signal(signal.SIGALRM, expired)
try:
    import heavy
except TimeoutError:
    print("expired")
os.pread = read
"""


def test_reading_of_memory_that_fails_is_absent(folder):
    """A descriptor that the program has closed costs the figure only; a time-out then is the program's."""
    (folder / "closing.py").write_text(CLOSING)
    shown = run("--json", "closing.py")
    assert shown.stderr == "expired\n"
    assert flat(json.loads(shown.stdout)["imports"])["light"]["memory_growth_bytes"] is None


def test_imports_from_archives_and_threads_are_there(folder):
    """What another finder finds, and what a thread imports, is recorded."""
    with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
        archive.writestr("zipped.py", "")
    text = (
        "import sys, threading\nsys.path.append('archive.zip')\n"
        "thread = threading.Thread(target=lambda: __import__('zipped'))\nthread.start()\nthread.join()\n"
    )
    (folder / "threading_program.py").write_text(text)
    found = document("threading_program.py")["imports"]
    assert "zipped" in {one["module"] for one in found}


IMPORTTIME = re.compile(r"^import time:\s*\d+ \|\s*(\d+) \|\s*(\S+)$", re.MULTILINE)


def both_times(program: str) -> tuple[dict[str, int], dict[str, int]]:
    """The nanoseconds of each module, by the tracer and by `-X importtime`, in one process."""
    Path("changes").write_bytes(marshal.dumps({}))
    command = [sys.executable, "-X", "importtime", tracing.__file__, "record", "changes", program]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    recorded = marshal.loads(Path("record").read_bytes())
    imports = [one for records in recorded for one in tree(records)]
    assert sum(package.self_ns for package in packages(imports)) == total_ns(imports)
    ours = {one.name: one.duration_ns for root in imports for one in root.with_inner()}
    return ours, {name: int(us) * 1000 for us, name in IMPORTTIME.findall(shown.stderr)}


def test_times_are_those_of_the_interpreter(folder):
    """In one process, `-X importtime` has the same modules, and times within 10 % or 1 ms."""
    (folder / "plain.py").write_text("import heavy, json, asyncio, xml.dom.minidom, _ctypes, circle_a\n")
    (folder / "empty.py").write_text("")
    _, before = both_times("empty.py")
    apart = None
    for _ in range(5):  # what other programs take between the two clocks hits another module each time
        ours, theirs = both_times("plain.py")
        assert ours.keys() == theirs.keys() - before.keys()
        assert {"heavy.part", "asyncio.events", "circle_b"} <= ours.keys()
        far = {name for name in ours if ours[name] != pytest.approx(theirs[name], rel=0.1, abs=1_000_000)}
        apart = far if apart is None else apart & far
        if not apart:
            break
    assert not apart


def test_imports_are_spans(folder):
    """With `--file` each import above the threshold is a span, below that of the import that led to it."""
    slow = "import time\ntime.sleep(0.3)\n"  # as no quick import takes
    (folder / "heavy" / "__init__.py").write_text(f"{slow}from heavy import part\n")
    (folder / "heavy" / "part.py").write_text(slow)
    shown = run("--file", "telemetry", "--service-name", "shop", "--threshold", "0.3", "program.py")
    assert shown.returncode == 0, shown.stderr
    spans = {span.name: span for span in read(Path("telemetry")).spans}
    outer, inner = spans["import heavy"], spans["import heavy.part"]
    assert inner.parent_id == outer.span_id
    assert outer.start < inner.start < inner.end <= outer.end
    assert outer.service == "shop"
    assert 0.3 <= outer.attributes[names.IMPORT_SELF_TIME] <= outer.wall - inner.wall + 1e-6
    assert outer.attributes[names.MODULE_NAME] == "heavy"
    assert outer.attributes[names.CPU_TIME] < outer.wall - 0.5
    asked_by = outer.attributes[names.CODE_FILE_PATH], outer.attributes[names.CODE_LINE_NUMBER]
    assert asked_by == ("program.py", 1)
    assert "import light" not in spans


def test_failed_import_is_a_failed_span(folder):
    """The span of an import that raised has the error's class."""
    run("--file", "telemetry", "--threshold", "0", "program.py")
    (span,) = [span for span in read(Path("telemetry")).spans if span.name == "import failing"]
    assert span.failed
    assert span.attributes[names.ERROR_TYPE] == "LookupError"


def test_wrong_endpoint_is_named(folder):
    """A wrong setting is one line, before the program runs."""
    shown = run("--endpoint", "nowhere", "program.py")
    assert (shown.returncode, shown.stdout) == (2, "")
    assert "nowhere" in shown.stderr


def test_budgets_end_with_status_1(folder):
    """A budget of all imports, or of one package, that is exceeded is named; one that is kept is not."""
    kept = run("--check", "60", "--check", "heavy=60", "--check", "absent=0", "program.py")
    assert (kept.returncode, kept.stderr) == (0, "")
    passed = run("--check", "0.01", "--check", "heavy=0.04", "--check", "light=60", "program.py")
    assert passed.returncode == 1
    assert re.search(
        r"^codoperf: imports took 0\.\d+ s, more than the budget of 0\.01 s$", passed.stderr, re.MULTILINE
    )
    assert "codoperf: imports of heavy took 0." in passed.stderr
    assert "light" not in passed.stderr


@pytest.mark.parametrize("wrong", ["soon", "heavy=", "-1", "nan", "inf"])
def test_wrong_budget_is_named(folder, wrong):
    """What is no number of seconds is one line that shows it."""
    shown = run(f"--check={wrong}", "program.py")
    assert shown.returncode == 2
    assert "is not a number of seconds of 0 or more" in shown.stderr


def test_no_program_is_an_error():
    """Without a program there is nothing to run."""
    shown = run()
    assert (shown.returncode, shown.stdout) == (2, "")
    assert shown.stderr == "codoperf: imports needs a script, or -m and a module\n"


def test_missing_script_is_named(folder):
    """A script that is not there is one line."""
    shown = run("absent.py")
    assert (shown.returncode, shown.stderr) == (2, "codoperf: absent.py: no such file\n")


def test_program_without_imports_has_no_table(folder):
    """Where nothing was imported, one line says so."""
    (folder / "empty.py").write_text("")
    assert run("empty.py").stdout == "0 imports took 0 s\n"


def test_modules_that_pytest_rewrites_are_there(folder, monkeypatch):
    """The import hook of pytest works beside the tracer, and its imports are recorded."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    (folder / "test_light.py").write_text("import light\ndef test_it():\n    assert not light.__doc__\n")
    shown = run("--json", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_light.py")
    assert "1 passed" in shown.stderr
    light = flat(json.loads(shown.stdout)["imports"])["light"]
    assert Path(light["asked_by"]["file"]).name == "test_light.py"


def test_report_is_a_tree_and_a_table(folder):
    """The terminal shows the imports above the threshold as a tree, and packages by self time."""
    lines = run("--threshold", "0.015", "program.py").stdout.splitlines()
    text = "\n".join(lines)
    assert re.search(r"^\d+ imports took \d+\.?\d* ms$", text, re.MULTILINE)
    assert re.search(r"^[├└]─ heavy +\d+\.?\d* ms +\d+\.?\d* ms  program\.py:1 ", text, re.MULTILINE)
    assert re.search(r"^.  [├└]─ heavy\.part +\d+\.?\d* ms .*heavy/__init__\.py:3 ", text, re.MULTILINE)
    assert "circle_a" not in text.partition("package")[0]
    assert re.search(r"^\d+ imports of less than 15\.0 ms not shown$", text, re.MULTILINE)
    assert re.search(r"^heavy +\d+\.?\d* ms +\d\d % +2$", text, re.MULTILINE)
    assert max(map(len, lines)) <= 100


def test_report_names_the_columns_that_it_has_no_room_for(folder):
    """Where the tree is deep, memory and CPU time are left out first, and a line says so."""
    for depth in range(6):
        (folder / f"a_name_of_many_letters_{depth}.py").write_text(
            f"import a_name_of_many_letters_{depth + 1}\n"
        )
    (folder / "a_name_of_many_letters_6.py").write_text("import heavy\n")
    (folder / "deep.py").write_text("import a_name_of_many_letters_0\n")
    text = run("--no-advice", "deep.py").stdout
    assert "asked by" in text
    assert re.search(r"^A wider screen also shows: (CPU, )?\+memory$", text, re.MULTILINE)
