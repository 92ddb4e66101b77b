"""`codoperf imports` advises which imports should wait, by what a second run does without."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from codoperf_otel.cli import main

CLI = [sys.executable, "-m", "codoperf_otel.cli", "imports"]
SLOW = "import time\ntime.sleep(0.02)\n"


def write(folder: Path, packaged: dict[str, str] | None = None, **modules: str) -> None:
    """Write modules, and those in packages by their paths."""
    for name, text in {**(packaged or {}), **modules}.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder, the current one, with three slow modules."""
    write(tmp_path, heavy=SLOW, slow=SLOW, shared=SLOW)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run ``codoperf imports`` as a command."""
    return subprocess.run([*CLI, *arguments], capture_output=True, text=True, **options)


@pytest.fixture
def output(capfd) -> Callable[..., str]:
    """A function that runs ``codoperf imports`` here, and returns what it prints."""

    def call(*arguments: str) -> str:
        capfd.readouterr()
        assert main(["imports", *arguments]) == 0
        return capfd.readouterr().out

    return call


@pytest.fixture
def advice(output) -> Callable[..., dict]:
    """A function that returns the advice of ``--json``."""
    return lambda *arguments: json.loads(output("--json", *arguments))["advice"]


def lines(entries: list[dict]) -> list[str]:
    """The statements, each with its file and line."""
    return [f"{Path(one['file']).name}:{one['line']} {one['import']}" for one in entries]


def test_import_of_functions_that_did_not_run_saves_its_time(folder, advice):
    """What only such functions use is advised, with what it took and the functions that need it."""
    write(folder, program="import heavy\ndef work():\n    heavy.time\ndef more():\n    heavy\n")
    found = advice("program.py")
    (change,) = found["changes"]
    assert lines([change]) == ["program.py:1 import heavy"]
    assert change["functions"] == ["work", "more"]
    assert change["saves_seconds"] >= 0.02
    assert (change["put_off_seconds"], change["first_used_by"]) == (0, None)
    assert found["used_later"] == found["unknown"] == []


def test_import_of_a_function_that_ran_is_put_off(folder, advice):
    """It saves nothing in this run; the function that was the first to need it is named."""
    write(folder, program="import heavy\ndef work():\n    return heavy.time\nwork()\n")
    found = advice("program.py")
    (later,) = found["used_later"]
    assert found["changes"] == []
    assert later["put_off_seconds"] >= 0.02
    assert later["first_used_by"] == {"name": "work", "file": "program.py", "line": 2}


def test_import_for_its_side_effects_is_unknown(folder, advice, output):
    """What nothing in the file uses is no advice: it may be there for what it does."""
    write(folder, program="import heavy\nfrom slow import time\nprint('done')\n")
    found = advice("program.py")
    assert set(lines(found["unknown"])) == {"program.py:1 import heavy", "program.py:2 from slow import time"}
    assert all(one["seconds"] >= 0.02 for one in found["unknown"])
    assert found["changes"] == []
    assert output("--patch", "program.py") == ""


def test_import_in_a_block_is_unknown(folder, output):
    """An import with a condition, or whose failing is handled, is listed with the reason, not advised."""
    write(
        folder,
        {"pkg/__init__": SLOW, "pkg/part": ""},
        program="try:\n    import pkg.part\nexcept ImportError:\n    pkg = None\n"
        "if __name__ == '__main__':\n    import heavy, slow\n    slow.time\n    import shared\n"
        "def work():\n    return pkg, heavy, shared\n",
    )
    shown = json.loads(output("--json", "program.py"))
    found, took = shown["advice"], {one["module"]: one["seconds"] for one in shown["imports"]}
    assert found["changes"] == found["used_later"] == []
    reasons = {
        line: one["reason"] for line, one in zip(lines(found["unknown"]), found["unknown"], strict=True)
    }
    assert reasons == {"program.py:2 import pkg.part": "in a try", "program.py:8 import shared": "in an if"}
    assert {one["seconds"] for one in found["unknown"]} == {took["pkg.part"], took["shared"]}
    (line,) = [line for line in output("program.py").splitlines() if line.startswith("import pkg.part")]
    assert re.search(r" ≤ \d\d\.\d ms .* unknown: in a try$", line)


@pytest.mark.measures
def test_saving_counts_only_what_no_other_importer_needs(folder, advice):
    """A module that something else imports at once is not saved."""
    write(
        folder,
        heavy=f"import shared\n{SLOW}",
        shared="import time\ntime.sleep(0.5)\n",
        program="import heavy\nimport shared\ndef work():\n    heavy\nshared.time\n",
    )
    (change,) = advice("program.py")["changes"]
    assert 0.02 <= change["saves_seconds"] < 0.5


def test_all_importers_of_a_module_have_to_wait(folder, advice, output):
    """A second line that imports the same saves nothing by itself, and belongs to the change."""
    write(
        folder,
        other="import heavy\ndef use():\n    heavy\n",
        program="import heavy\nimport other\ndef work():\n    heavy\nother.__name__\n",
    )
    first, second = advice("program.py")["changes"]
    assert lines([first, second]) == ["program.py:1 import heavy", "other.py:1 import heavy"]
    assert first["saves_seconds"] >= 0.02
    assert (second["saves_seconds"], second["goes_with_others"]) == (0, True)
    patch = output("--patch", "program.py")
    assert "+++ b/program.py" in patch
    assert "+++ b/other.py" in patch


def test_lines_of_a_module_that_waits_are_left_alone(folder, advice):
    """What a module imports waits with it: its own lines need no change."""
    write(
        folder,
        other="import heavy\ndef use():\n    heavy\n",
        program="import other\ndef work():\n    other\n",
    )
    (change,) = advice("program.py")["changes"]
    assert lines([change]) == ["program.py:1 import other"]
    assert change["saves_seconds"] >= 0.02


def test_line_of_a_module_that_was_used_can_save(folder, advice):
    """A module that a function needed later may itself import what nobody needed."""
    write(
        folder,
        other="import heavy\ndef use():\n    heavy\n",
        program="import other\ndef work():\n    other\nwork()\n",
    )
    found = advice("--threshold", "0.001", "program.py")
    assert lines(found["changes"]) == ["other.py:1 import heavy"]
    assert lines(found["used_later"]) == ["program.py:1 import other"]


@pytest.mark.parametrize(
    "use",
    [
        "from helpers import heavy",
        "import helpers as h\nh.heavy",
        "from pkg.helpers import *",
        "pkg.helpers.heavy",
    ],
)
def test_name_that_another_module_takes_stays(folder, use, advice):
    """What is read of a module from outside has to be there."""
    body = "import heavy\ndef work():\n    heavy\n"
    write(folder, {"pkg/__init__": "", "pkg/helpers": body})
    write(folder, helpers=body, program=f"import helpers, pkg.helpers\n{use}\n")
    assert advice("program.py")["changes"] == []


@pytest.mark.measures
def test_relative_imports_and_parts_of_a_package(folder, advice):
    """A part of a package that only a function uses waits; the other parts of the statement stay."""
    write(
        folder,
        {
            "pkg/__init__": "",
            "pkg/__main__": "from . import a, b\nb.time\ndef work():\n    return a\n",
            "pkg/a": SLOW,
            "pkg/b": "import time\ntime.sleep(0.5)\n",
        },
    )
    (change,) = advice("-m", "pkg")["changes"]
    assert lines([change]) == ["__main__.py:1 from . import a"]
    assert 0.02 <= change["saves_seconds"] < 0.5


def test_names_that_a_package_offers_stay(folder, advice):
    """What a package's `__init__` imports of the package itself is for others, unless it is private."""
    write(
        folder,
        {
            "pkg/__init__": "from pkg.a import time\nfrom .b import time as _b\nimport heavy\n"
            "def work():\n    return time, _b, heavy\n",
            "pkg/a": SLOW,
            "pkg/b": SLOW,
        },
        program="import pkg\npkg.work\n",
    )
    assert set(lines(advice("program.py")["changes"])) == {
        "__init__.py:2 from .b import time as _b",
        "__init__.py:3 import heavy",
    }


def test_installed_packages_are_left_alone(folder, advice):
    """Only files that the author of the program can change are looked at, and the package that is run."""
    write(
        folder,
        {
            "site-packages/tool/__init__": "import heavy\ndef work():\n    heavy\n",
            "site-packages/tool/__main__": "",
            "program": "import sys\nsys.path.append('site-packages')\nimport tool\ntool.work\n",
        },
    )
    assert advice("program.py")["changes"] == []
    shown = run("--json", "-m", "tool", env={"PYTHONPATH": "site-packages"})
    assert lines(json.loads(shown.stdout)["advice"]["changes"]) == ["__init__.py:1 import heavy"]


PROGRAM = """import sys
import heavy  # for reports
from slow import time


def report():
    return heavy.time


class Shop:
    def open(self):
        \"\"\"Open it.\"\"\"
        return time.time()


print(sys.argv, sorted(name for name in sys.modules if name[1:] in ("eavy", "low")))
if len(sys.argv) > 2:
    print(report(), Shop().open() > 0)
"""


def test_patch_can_be_applied(folder, advice):
    """The patch changes what the advice says and nothing else; nothing is written before it is applied."""
    write(folder, program=PROGRAM)
    shown = run("--patch", "program.py", "a")
    assert shown.stderr == "['program.py', 'a'] ['heavy', 'slow']\n"
    assert (folder / "program.py").read_text() == PROGRAM
    subprocess.run(["git", "apply", "-"], input=shown.stdout, text=True, check=True)
    changed = [sys.executable, "program.py", "a"]
    assert subprocess.check_output(changed, text=True) == "['program.py', 'a'] []\n"
    assert "True" in subprocess.check_output([*changed, "b"], text=True).splitlines()[1]
    assert advice("program.py", "a")["changes"] == []


@pytest.mark.once
@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfimport heavy\ndef work():\n    return heavy\n",
        b"import heavy\r\ndef work():\r\n    return heavy\r\n",
        b"# coding: latin-1\nimport heavy\ndef work():\n    return heavy, '\xe9'\n",
    ],
    ids=["byte order mark", "other line ends", "other encoding"],
)
def test_patch_has_the_bytes_of_the_file(folder, text):
    """A file in another encoding, or with other line ends, is changed where it has to be and stays one."""
    name = "my program.py"
    (folder / name).write_bytes(text)
    shown = subprocess.run([*CLI, "--patch", name], stdout=subprocess.PIPE, check=True)
    subprocess.run(["git", "apply", "-"], input=shown.stdout, check=True)
    end = b"\r\n" if b"\r\n" in text else b"\n"
    moved = text.replace(b"import heavy" + end, b"").replace(
        b"    return", b"    import heavy" + end + b"    return"
    )
    assert (folder / name).read_bytes() == moved


@pytest.mark.once
def test_patch_of_a_file_elsewhere_is_for_the_root(folder, monkeypatch):
    """Where a file is not below the current folder, the patch names all from the root, and a line says so."""
    write(folder, program="import heavy\ndef work():\n    return heavy\n")
    (folder / "here").mkdir()
    monkeypatch.chdir(folder / "here")
    shown = run("--patch", "../program.py")
    root = Path(folder.anchor)
    assert f"+++ b/{folder.joinpath('program.py').relative_to(root)}\n" in shown.stdout
    assert shown.stderr == f"codoperf: not all files are below this folder: apply the patch in {root}\n"


@pytest.mark.once
def test_patch_of_a_file_without_a_last_line_end(folder):
    """The patch says so, as `diff` does, and can be applied."""
    write(folder, program="import heavy\ndef work():\n    return heavy")
    shown = run("--patch", "program.py")
    assert shown.stdout.endswith(" return heavy\n\\ No newline at end of file\n")
    subprocess.run(["git", "apply", "-"], input=shown.stdout, text=True, check=True)
    assert (folder / "program.py").read_text() == "def work():\n    import heavy\n    return heavy"


COUNTED = "import heavy, sys\nwith open('runs', 'a') as runs:\n    runs.write(sys.stdin.read())\n"
UNUSED = "def work():\n    heavy\n"


@pytest.mark.once
def test_program_runs_twice_at_most(folder):
    """It is run again, with the same input and in silence, only if there is something to try."""
    write(folder, program=f"{COUNTED}{UNUSED}print('shown')\n", plain=COUNTED)
    (folder / "input").write_text("run ")
    for arguments, count in ((["program.py"], 2), (["--no-advice", "program.py"], 1), (["plain.py"], 1)):
        (folder / "runs").write_text("")
        with Path("input").open() as stdin:
            shown = run(*arguments, stdin=stdin)
        assert (folder / "runs").read_text() == "run " * count
        assert shown.stdout.count("shown") == (arguments[-1] == "program.py")


ENDINGS = {
    "another status": ("sys.exit(3)", "the second run ended with status 3, not 0"),
    "killed": ("os.kill(os.getpid(), 9)", "the second run ended, with status -9, before its imports were"),
}


@pytest.mark.once
@pytest.mark.parametrize(("end", "message"), ENDINGS.values(), ids=ENDINGS)
def test_second_run_that_ends_otherwise_is_no_measure(folder, end, message):
    """Nothing is advised by it, and one line says why."""
    begin = "import heavy, os, sys\nif os.path.exists('ran'):\n"
    write(folder, program=f"{begin}    {end}\nopen('ran', 'w').close()\n{UNUSED}")
    shown = run("--json", "program.py")
    assert shown.returncode == 0
    assert f"codoperf: {message}" in shown.stderr
    assert json.loads(shown.stdout)["advice"]["changes"] == []


@pytest.mark.parametrize("text", ["def work(:\n", "# coding: nothing\n", "\0"])
def test_source_that_is_no_python_is_left_alone(folder, text, advice):
    """A file that changed under the program, or is not the module's source, is skipped."""
    write(folder, other="import heavy\n", program=f"import other\nopen('other.py', 'w').write({text!r})\n")
    assert advice("program.py")["changes"] == []


@pytest.mark.once
def test_report_has_the_advice(folder):
    """The terminal shows what could wait, what that saves, and who uses it."""
    write(folder, program=PROGRAM.replace("if len", "import shared\nshared.time\nreport()\nif len"))
    text = run("program.py").stdout
    assert "could wait" in text
    (slow,) = [line for line in text.splitlines() if line.startswith("from slow import time")]
    assert slow.split()[-4:] == ["not", "in", "this", "run"]
    (heavy,) = [line for line in text.splitlines() if line.startswith("import heavy")]
    assert heavy.endswith("by report:6")
    assert re.search(r"^1 import moved into the functions that need it: \d.* ms less;", text, re.MULTILINE)


@pytest.mark.once
def test_report_shows_the_end_of_a_long_name(folder):
    """Of a name with more than two parts, the last two are shown; the patch has them all."""
    write(
        folder,
        {"one/two/three": SLOW, "one/two/__init__": "", "one/__init__": ""},
        program="from one.two.three import time\ndef work():\n    time\n",
    )
    assert "\nfrom …two.three import time " in run("program.py").stdout
    assert "+    from one.two.three import time\n" in run("--patch", "program.py").stdout


@pytest.mark.once
def test_missing_rich_is_said_before_the_program_runs(folder):
    """A program is not run for a report that cannot be shown."""
    write(folder, program="print('ran')\n")
    begin = "import sys; sys.modules['rich'] = None; from codoperf_otel.cli import main; "
    command = [sys.executable, "-c", f"{begin}sys.exit(main(['imports', *sys.argv[1:]]))"]
    shown = subprocess.run([*command, "program.py"], capture_output=True, text=True)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert shown.stderr == "codoperf: this needs rich: pip install 'codoperf-otel[cli]'\n"
    assert subprocess.run([*command, "--json", "program.py"], capture_output=True).returncode == 0
