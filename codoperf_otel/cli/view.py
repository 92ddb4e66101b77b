"""``codoperf view``: a report on telemetry that was written to files."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from codoperf_otel._report.document import document
from codoperf_otel._report.files import FILES, read
from codoperf_otel._report.model import Telemetry
from codoperf_otel.cli import _format
from codoperf_otel.cli._errors import NEEDS_RICH, CommandError

PROBLEMS_NAMED = 20
MIN_WIDTH = 40


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add ``view`` to the command's parser."""
    parser = subparsers.add_parser(
        "view",
        help="show traces and metrics that were written to files",
        description="Traces as trees, top operations by self CPU and memory, caches, lazy loads, agents.",
        epilog="With --json: one document with source, problems, trees, operations, agents, caches,"
        " lazy_loads, dropped and metrics. Units are in the keys; what was not measured is null.",
    )
    parser.add_argument(
        "path",
        type=Path,
        metavar="FILE|DIR",
        help=f"an OTLP JSON-lines file, or a folder with {' and '.join(FILES)}",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead")
    parser.add_argument(
        "--width", type=_width, metavar="N", help="columns to use (default: the terminal's, else 100)"
    )
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Show what the command line asks for."""
    return view(arguments.path, as_json=arguments.json, width=arguments.width)


def view(path: Path, *, as_json: bool = False, width: int | None = None) -> int:
    """Write the report on *path* to stdout and what was skipped to stderr.

    :class:`CommandError` where there is nothing to show.
    """
    telemetry = read(path)
    _name_problems(telemetry)
    if not telemetry.spans and not telemetry.points:
        raise CommandError(f"{path}: no span and no metric in it")
    if as_json:
        sys.stdout.write(f"{json.dumps(document(telemetry))}\n")
    else:
        _render(telemetry, width)
    return 0


def _render(telemetry: Telemetry, width: int | None) -> None:
    try:
        from codoperf_otel.cli import _text_report
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "rich":
            raise
        raise CommandError(NEEDS_RICH) from error
    _text_report.render(telemetry, _text_report.console(width))


def _name_problems(telemetry: Telemetry) -> None:
    problems = telemetry.problems
    for problem in problems[:PROBLEMS_NAMED]:
        sys.stderr.write(f"{_format.clean(str(problem))}\n")
    if len(problems) > PROBLEMS_NAMED:
        sys.stderr.write(f"… and {len(problems) - PROBLEMS_NAMED:,} more lines skipped\n")


def _width(text: str) -> int:
    if not text.isdecimal() or int(text) < MIN_WIDTH:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of columns of {MIN_WIDTH} or more")
    return int(text)
