"""``codoperf demo``: a code-review agent at work on real files, and what its work cost."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from codoperf_otel import CacheManager, configure
from codoperf_otel._ownership import make_folder
from codoperf_otel._report.document import document
from codoperf_otel._report.files import FILES, read
from codoperf_otel.cli import _format
from codoperf_otel.cli._errors import NEEDS_RICH, CommandError
from codoperf_otel.cli._invocation import command_line
from codoperf_otel.cli.view import view
from codoperf_otel.sdk.settings import is_disabled

if TYPE_CHECKING:
    from codoperf_otel.demo import Finding, Progress, Review
    from codoperf_otel.sdk import Handle

EXPORT_INTERVAL = 1.0
EXPORTS = 3
PASSES = 2
CACHE = "cache"
ROWS = 8
ENDPOINTS = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
)
TITLES = {
    "unreadable": "Files that cannot be read",
    "syntax": "Syntax errors",
    "lint": "Compiler warnings",
    "complexity": "Complex functions",
    "copy": "Copied functions",
}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add ``demo`` to the command's parser."""
    parser = subparsers.add_parser(
        "demo",
        help="review Python files with an example agent and show what it cost",
        description="A planner and reviewers look through Python files, offline, and once more with one file"
        " in eight edited and the rest from their cache. Their findings are printed, then what both reviews"
        " cost, which is also in"
        f" {' and '.join(FILES)} under the output folder.",
        epilog="With an endpoint, metrics are sent every second, and the review is repeated for three seconds"
        " more, so that rates are there to see.",
    )
    parser.add_argument(
        "path",
        nargs="?",
        type=Path,
        metavar="PATH",
        help="a folder or a Python file (default: the standard library's asyncio)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("codoperf-demo"),
        metavar="DIR",
        help="folder for telemetry and cache (default: ./codoperf-demo)",
    )
    parser.add_argument("--endpoint", metavar="URL", help="also send telemetry there, as OTLP")
    parser.add_argument(
        "--concurrency", type=_count, default=4, metavar="N", help="reviewers at work at once (default: 4)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Review, then show findings and telemetry."""
    if not arguments.json and find_spec("rich") is None:
        raise CommandError(NEEDS_RICH)
    path = arguments.path or _asyncio()
    _check(path)
    _empty(arguments.out)
    earlier = arguments.out / CACHE if (arguments.out / CACHE).exists() else None
    review, seconds = _review(path, arguments)
    recorded = not is_disabled(os.environ)
    if arguments.json:
        telemetry = document(read(arguments.out)) if recorded else None
        sys.stdout.write(f"{json.dumps({'review': asdict(review), 'telemetry': telemetry})}\n")
        return 0
    _show(review, seconds, earlier)
    if recorded:
        view(arguments.out)
        sys.stdout.write(f"\nSee it again: {command_line('view', str(arguments.out))}\n")
    else:
        sys.stdout.write("There is no trace: OTEL_SDK_DISABLED is true.\n")
    return 0


def _asyncio() -> Path:
    spec = find_spec("asyncio")
    if spec is None or spec.origin is None or not Path(spec.origin).exists():
        raise CommandError("this Python has no source of its standard library: name a PATH")
    return Path(spec.origin).parent


def _check(path: Path) -> None:
    """Refuse a path with nothing to review, before the files of an earlier run are removed."""
    from codoperf_otel.demo import SurveyError, survey

    try:
        survey(path)
    except SurveyError as error:
        raise CommandError(str(error)) from error


def _empty(folder: Path) -> None:
    """Make the folder, and remove the telemetry of an earlier run from it."""
    try:
        make_folder(folder, 0o700)
        with tempfile.TemporaryFile(dir=folder):
            pass
        for name in FILES:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise CommandError(f"--out {folder}: {error.strerror}") from error


def _review(path: Path, arguments: argparse.Namespace) -> tuple[Review, list[float]]:
    """The first review, and how many seconds each took."""
    from codoperf_otel import demo

    sends = bool(arguments.endpoint or any(os.environ.get(name) for name in ENDPOINTS))
    cache = CacheManager(cache_dir=arguments.out / CACHE)
    review = partial(demo.review, path, concurrency=arguments.concurrency, cache=cache)
    with _configured(arguments, EXPORT_INTERVAL if sends else None):
        with _progress() as on_progress:
            times = [time.perf_counter()]
            first = review(on_progress=on_progress)
            times.append(time.perf_counter())
        _repeat(review, times, EXPORTS * EXPORT_INTERVAL if sends else 0)
    return first, [after - before for before, after in pairwise(times)]


def _repeat(review: Callable[..., Review], times: list[float], seconds: float) -> None:
    """Review again, as after some work: a hit is seen in what is done again, a rate between exports."""
    while len(times) <= PASSES or times[-1] - times[1] < seconds:
        review(with_edits=True)
        times.append(time.perf_counter())


def _configured(arguments: argparse.Namespace, interval: float | None) -> Handle:
    try:
        return configure(
            service_name="codoperf-demo",
            endpoint=arguments.endpoint,
            file=arguments.out,
            metric_export_interval=interval,
        )
    except (ValueError, ImportError) as error:
        raise CommandError(str(error)) from error


@contextmanager
def _progress() -> Iterator[Progress]:
    """Bars on a terminal; elsewhere a line for each kind of reviewer that is done."""
    if not sys.stderr.isatty() or find_spec("rich") is None:
        yield _print_done
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("files"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def show(reviewer: str, files: int, all_files: int) -> None:
            if reviewer not in tasks:
                tasks[reviewer] = bars.add_task(reviewer, total=all_files)
            bars.update(tasks[reviewer], completed=files)

        yield show


def _print_done(reviewer: str, files: int, all_files: int) -> None:
    if files == all_files:
        sys.stderr.write(f"{reviewer}: {_format.plural(files, 'file')} reviewed\n")


def _show(review: Review, seconds: list[float], earlier: Path | None) -> None:
    """Print the figures, the worst findings of each kind, and how long it took."""
    from codoperf_otel.cli._text_report import console

    target = console()
    for line, style in _lines(review, seconds, earlier):
        shown = _wrapped(line, target.width) if target.is_terminal else line
        target.print(shown, style=style, soft_wrap=not target.is_terminal)


def _wrapped(line: str, width: int) -> str:
    """A line as several, of which all but the first are indented."""
    return textwrap.fill(
        line, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )


def _lines(review: Review, seconds: list[float], earlier: Path | None) -> Iterator[tuple[str, str]]:
    """Each line and its style."""
    summary = review.summary
    figures = [(summary.files, "file"), (summary.lines, "line"), (summary.functions, "function")]
    yield (
        f"Review of {_format.clean(review.path)}: {', '.join(_format.plural(*figure) for figure in figures)}",
        "bold",
    )
    if summary.highest_complexity is not None:
        median, highest = summary.median_complexity, summary.highest_complexity
        yield f"Cyclomatic complexity: median {median:g}, highest {highest}", ""
    for kind, title in TITLES.items():
        found = [finding for finding in review.findings if finding.kind == kind]
        if found:
            yield "", ""
            yield f"{title}: {len(found):,}{f', the first {ROWS}' if len(found) > ROWS else ''}", "bold"
            yield from ((line, "") for line in _places(found[:ROWS]))
    first, *_, last = map(_format.duration, seconds)
    yield "", ""
    passes = f"Reviewed {len(seconds)} times: the first took {first}"
    yield f"{passes}, the last one, with one file in eight edited and the rest from the cache, {last}", ""
    if earlier is not None:
        place = _format.clean(str(earlier))
        yield f"{place} held results of earlier runs: remove it to see a first review without them", ""
    yield "", ""


def _places(findings: list[Finding]) -> Iterator[str]:
    places = [f"{_format.clean(finding.path)}:{finding.line}" for finding in findings]
    width = min(max(map(len, places)), 40)
    for place, finding in zip(places, findings, strict=True):
        yield f"  {place:{width}}  {_format.clean(finding.message)}"


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)
