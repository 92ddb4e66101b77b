"""``codoperf imports``: which import of a program cost what, and who asked for it."""

from __future__ import annotations

import argparse
import json
import marshal
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from codoperf_otel import configure
from codoperf_otel._imports import tracing
from codoperf_otel._imports.costs import Import, packages, total_ns, tree
from codoperf_otel._imports.spans import send
from codoperf_otel.cli._errors import NEEDS_RICH, CommandError

THRESHOLD = 0.005
Budget = tuple[str | None, float]
"""A package, or None for all imports, and seconds."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add ``imports`` to the command's parser."""
    parser = subparsers.add_parser(
        "imports",
        help="run a program, and show what each of its imports cost",
        usage="codoperf imports [options] (SCRIPT | -m MODULE) [argument ...]",
        description="Run a script or a module as python does, and show its imports as a tree, with the"
        " packages by self time.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--threshold",
        type=_seconds,
        default=THRESHOLD,
        metavar="SECONDS",
        help="leave imports out that took less (default: %(default)s)",
    )
    parser.add_argument(
        "--check",
        type=_budget,
        action="append",
        default=[],
        metavar="[PACKAGE=]SECONDS",
        help="end with status 1 if all imports, or those of a package by self time, took longer;"
        " may be given several times",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document; the program's output goes to stderr"
    )
    parser.add_argument("--service-name", metavar="NAME", help="service.name of the telemetry")
    parser.add_argument("--endpoint", metavar="URL", help="also send the imports there as spans, as OTLP")
    parser.add_argument(
        "--file", metavar="DIR", help="also write the imports as spans to files in this folder"
    )
    parser.add_argument("-m", dest="is_module", action="store_true", help="run a module, not a script")
    parser.add_argument(
        "program", nargs=argparse.REMAINDER, metavar="PROGRAM", help="the program, and its own arguments"
    )
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Run the program and show its imports. The status is the program's, or 1 where a budget is exceeded."""
    command = arguments.program[1:] if arguments.program[:1] == ["--"] else arguments.program
    if not command:
        raise CommandError("imports needs a script, or -m and a module")
    if not arguments.is_module and not Path(command[0]).is_file():
        raise CommandError(f"{command[0]}: no such file")
    with _configured(arguments):
        status, found = _traced([*["-m"] * arguments.is_module, *command], quiet=arguments.json)
        send(found, arguments.threshold)
    if arguments.json:
        sys.stdout.write(f"{json.dumps(_document(found))}\n")
    else:
        _render(found, arguments.threshold)
    exceeded = [text for budget in arguments.check for text in _exceeded(found, budget)]
    sys.stderr.writelines(f"codoperf: {text}\n" for text in exceeded)
    return status or int(bool(exceeded))


def _configured(arguments: argparse.Namespace) -> AbstractContextManager[object]:
    """Telemetry, where it is asked for."""
    if arguments.endpoint is None and arguments.file is None:
        return nullcontext()
    try:
        return configure(arguments.service_name, endpoint=arguments.endpoint, file=arguments.file)
    except (ValueError, ImportError, OSError) as error:
        raise CommandError(str(error)) from error


def _traced(command: Sequence[str], *, quiet: bool) -> tuple[int, list[Import]]:
    """The exit status of a program, and its imports."""
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record"
        words = [sys.executable, tracing.__file__, str(record), *command]
        status = subprocess.run(words, stdout=sys.stderr if quiet else None, check=False).returncode
        if not record.exists():
            raise CommandError(
                f"{command[-1]}: it ended, with status {status}, before its imports were written"
            )
        return status if status >= 0 else 128 - status, tree(marshal.loads(record.read_bytes()))  # noqa: S302


def _render(found: Sequence[Import], threshold: float) -> None:
    try:
        from codoperf_otel.cli import _imports_view
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "rich":
            raise
        raise CommandError(NEEDS_RICH) from error
    sys.stdout.flush()
    _imports_view.render(found, threshold)


def _document(found: Sequence[Import]) -> dict[str, Any]:
    """Everything, with units in the keys."""
    return {
        "total_seconds": total_ns(found) / 1e9,
        "packages": [
            {"name": package.name, "self_seconds": package.self_ns / 1e9, "modules": package.modules}
            for package in packages(found)
        ],
        "imports": [_entry(one) for one in found],
    }


def _entry(one: Import) -> dict[str, Any]:
    return {
        "module": one.name,
        "seconds": one.duration_ns / 1e9,
        "self_seconds": one.self_ns / 1e9,
        "cpu_seconds": one.cpu_ns / 1e9,
        "memory_growth_bytes": one.memory_bytes,
        "error": one.error,
        "file": one.file,
        "asked_by": None if one.asked_file is None else {"file": one.asked_file, "line": one.asked_line},
        "imports": [_entry(inner) for inner in one.inner],
    }


def _exceeded(found: Sequence[Import], budget: Budget) -> list[str]:
    name, seconds = budget
    of_packages = {package.name: package.self_ns for package in packages(found)}
    took = (total_ns(found) if name is None else of_packages.get(name, 0)) / 1e9
    what = "imports" if name is None else f"imports of {name}"
    return [f"{what} took {took:.3f} s, more than the budget of {seconds:g} s"] if took > seconds else []


def _budget(text: str) -> Budget:
    package, _, seconds = text.rpartition("=")
    return package or None, _seconds(seconds)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds of 0 or more")
    return seconds
