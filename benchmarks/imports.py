"""What imports cost: those of this package, the tracing of all, and what waiting imports save."""

from __future__ import annotations

import marshal
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from pairs import ratio, with_bytecode

from codoperf_otel._imports import tracing
from codoperf_otel._imports.costs import total_ns, tree

ROUNDS = 20
API = "import opentelemetry.trace, opentelemetry.metrics"
REAL = ["-m", "mypy", "--version"]
STATEMENTS = Path(__file__).with_name("import_statements.py")

HEAVY = 40
USED = 3
# some 20 ms: what a module of many classes takes
MODULE = """from dataclasses import make_dataclass
made = [make_dataclass(f"Item{number}", ["name", "price", "count"]) for number in range(40)]
"""
FUNCTION = """

def use_{number}():
    return heavy_{number}.made
"""


def _package() -> Iterator[str]:
    pair = ratio(lambda: _cpu(["-c", "import codoperf_otel"]), lambda: _cpu(["-c", API]), ROUNDS)
    yield f"import codoperf_otel against that of the API: {pair}; {pair.measured * 1e3:.1f} ms"


def _tracing() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        record, changes, seconds = (Path(folder) / name for name in ("record", "changes", "seconds"))
        changes.write_bytes(marshal.dumps({}))
        traced = [tracing.__file__, str(record), str(changes), *REAL]
        pair = ratio(lambda: _cpu(traced), lambda: _cpu(REAL), ROUNDS)
        yield f"{' '.join(REAL)} with tracing against without: {pair}"
        parts = []
        for _ in range(ROUNDS):
            _cpu([str(STATEMENTS), str(seconds), *traced])
            recorded = marshal.loads(record.read_bytes())
            total = sum(total_ns(tree(records)) for records in recorded) / 1e9
            parts.append(total / float(seconds.read_text()))
        yield (
            f"the tree's sum against the time inside import statements: {median(parts):.3f} x"
            f" ({min(parts):.3f}-{max(parts):.3f})"
        )


def _advice() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as name:
        before, after = Path(name) / "before", Path(name) / "after"
        for folder in (before, after):
            folder.mkdir()
            _write_program(folder)
        command = [sys.executable, "-m", "codoperf_otel.cli", "imports", "--patch", "program.py"]
        patch = subprocess.run(command, cwd=before, capture_output=True, check=True).stdout
        subprocess.run(["git", "apply", "-"], cwd=after, input=patch, check=True)
        pair = ratio(lambda: _wall(after), lambda: _wall(before), ROUNDS)
        yield (
            f"a program of {HEAVY} heavy imports that uses {USED}, with the patch against without: {pair};"
            f" {pair.measured * 1e3:.0f} ms against {pair.base * 1e3:.0f} ms"
        )


def _write_program(folder: Path) -> None:
    for number in range(HEAVY):
        (folder / f"heavy_{number}.py").write_text(MODULE)
    imports = [f"import heavy_{number}\n" for number in range(HEAVY)]
    functions = [FUNCTION.format(number=number) for number in range(HEAVY)]
    uses = [f"use_{number}()\n" for number in range(USED)]
    (folder / "program.py").write_text("".join([*imports, *functions, "\n\n", *uses]))


def _cpu(arguments: Sequence[str]) -> float:
    """CPU seconds of a Python with these arguments."""
    before = _children()
    command = [sys.executable, "-P", *arguments]
    subprocess.run(command, env=with_bytecode(), check=True, stdout=subprocess.DEVNULL)
    return _children() - before


def _wall(folder: Path) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "program.py"], cwd=folder, env=with_bytecode(), check=True)
    return time.perf_counter() - began


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


PARTS = {"package": _package, "tracing": _tracing, "advice": _advice}
