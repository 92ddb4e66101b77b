"""``codoperf imports``: which import of a program cost what, and who asked for it."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from codoperf_otel import configure
from codoperf_otel._imports.advice import Advice, Candidate, judge, moves, patch, plan, top
from codoperf_otel._imports.costs import Import, packages, total_ns
from codoperf_otel._imports.spans import send
from codoperf_otel.cli._errors import NEEDS_RICH, CommandError
from codoperf_otel.cli._traced_runs import Ended, TracedProgram

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
        " packages by self time. If imports could wait until a function needs them, it is run once more,"
        " quietly, to see what that saves.",
        allow_abbrev=False,
    )
    _add_options(parser)
    parser.add_argument("-m", dest="is_module", action="store_true", help="run a module, not a script")
    parser.add_argument(
        "program", nargs=argparse.REMAINDER, metavar="PROGRAM", help="the program, and its own arguments"
    )
    return parser


def _add_options(parser: argparse.ArgumentParser) -> None:
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
        "--no-advice", dest="advice", action="store_false", help="do not run the program a second time"
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument(
        "--json", action="store_true", help="print one JSON document; the program's output goes to stderr"
    )
    output.add_argument(
        "--patch",
        action="store_true",
        help="print only the advised change, as a patch; the program's output goes to stderr",
    )
    parser.add_argument("--service-name", metavar="NAME", help="service.name of the telemetry")
    parser.add_argument("--endpoint", metavar="URL", help="also send the imports there as spans, as OTLP")
    parser.add_argument(
        "--file", metavar="DIR", help="also write the imports as spans to files in this folder"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the program and show its imports. The status is the program's, or 1 where a budget is exceeded."""
    command = arguments.program[1:] if arguments.program[:1] == ["--"] else arguments.program
    if not command:
        raise CommandError("imports needs a script, or -m and a module")
    if not arguments.is_module and not Path(command[0]).exists():
        raise CommandError(f"{command[0]}: no such file")
    show = _output(arguments)
    program = TracedProgram([*["-m"] * arguments.is_module, *command])
    with _configured(arguments):
        ended = program.run(quiet=arguments.json or arguments.patch)
        send(ended.imports, arguments.threshold)
    show(ended.imports, _advice(arguments, command[0], program, ended))
    exceeded = [text for budget in arguments.check for text in _exceeded(ended.imports, budget)]
    sys.stderr.writelines(f"codoperf: {text}\n" for text in exceeded)
    return ended.status or int(bool(exceeded))


def _output(arguments: argparse.Namespace) -> Callable[[list[Import], Advice], None]:
    """What shows it all. What that needs is missed before the program runs, not afterwards."""
    if arguments.json:
        return lambda found, advice: _write(f"{json.dumps(_document(found, advice))}\n".encode())
    if arguments.patch:
        return lambda _, advice: _write_patch(advice.changes)
    try:
        from codoperf_otel.cli import _imports_view
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "rich":
            raise
        raise CommandError(NEEDS_RICH) from error
    return partial(_imports_view.render, threshold=arguments.threshold)


def _write(output: bytes) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(output)


def _write_patch(changes: Sequence[Candidate]) -> None:
    """As bytes, since each file has its own encoding."""
    _write(patch(changes))
    if top(changes) != Path.cwd():
        sys.stderr.write(
            f"codoperf: not all files are below this folder: apply the patch in {top(changes)}\n"
        )


def _advice(arguments: argparse.Namespace, name: str, program: TracedProgram, first: Ended) -> Advice:
    """What the second run has shown, if there is something to try."""
    package = name.partition(".")[0] if arguments.is_module else None
    advice = plan(first.imports, package, arguments.threshold) if arguments.advice else Advice([], [])
    if not advice.candidates:
        return advice
    moved = moves(advice.candidates)
    try:
        second = program.run_again({file: one.compiled(file) for file, one in moved.items()})
        if second.status != first.status:
            raise CommandError(f"the second run ended with status {second.status}, not {first.status}")
    except CommandError as error:
        sys.stderr.write(f"codoperf: {error}: there is no advice\n")
        return Advice([], advice.unknown)
    judge(advice.candidates, first.imports, second.imports, moved)
    return advice


def _configured(arguments: argparse.Namespace) -> AbstractContextManager[object]:
    """Telemetry, where it is asked for."""
    if arguments.endpoint is None and arguments.file is None:
        return nullcontext()
    try:
        return configure(arguments.service_name, endpoint=arguments.endpoint, file=arguments.file)
    except (ValueError, ImportError, OSError) as error:
        raise CommandError(str(error)) from error


def _document(found: Sequence[Import], advice: Advice) -> dict[str, Any]:
    """Everything, with units in the keys."""
    return {
        "total_seconds": total_ns(found) / 1e9,
        "packages": [
            {"name": package.name, "self_seconds": package.self_ns / 1e9, "modules": package.modules}
            for package in packages(found)
        ],
        "imports": [_entry(one) for one in found],
        "advice": {
            "changes": [_change(one) for one in advice.changes],
            "used_later": [_change(one) for one in advice.put_off],
            "unknown": [
                {**_statement(one.statement), "seconds": one.took_ns / 1e9, "reason": one.reason}
                for one in advice.unknown
            ],
        },
    }


def _statement(one: Candidate) -> dict[str, Any]:
    return {"import": one.text, "file": one.source.file, "line": one.statement.node.lineno}


def _change(one: Candidate) -> dict[str, Any]:
    return {
        **_statement(one),
        "functions": list(dict.fromkeys(function.name for name in one.names for function in name.functions)),
        "saves_seconds": one.saved_ns / 1e9,
        "goes_with_others": one.goes_with_others,
        "put_off_seconds": one.put_off_ns / 1e9,
        "first_used_by": None if one.user is None else asdict(one.user),
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
