"""``codoperf run``: a program as it is, monitored."""

from __future__ import annotations

import argparse
import atexit
import logging
import os
import sys
from contextlib import suppress

from codoperf_otel import _frameworks, _zero_code, configure
from codoperf_otel._calls.cells import all_cells
from codoperf_otel._calls.sites import FIRST, SpanRate, calls_over_rate
from codoperf_otel._calls.span_starts import spans_started
from codoperf_otel._environment_variables import (
    EXCLUDE,
    MAX_SPANS_PER_SECOND,
    MONITOR,
    option_or_variable,
    positive,
)
from codoperf_otel._imports.start_up import StartUp
from codoperf_otel._zero_code import program
from codoperf_otel._zero_code.own_share import OwnShare
from codoperf_otel._zero_code.patterns import Patterns, option_patterns
from codoperf_otel.cli._errors import CommandError
from codoperf_otel.cli._format import duration

log = logging.getLogger("codoperf_otel.run")

_SPANS_PER_SECOND = 100.0
"""Enough to see what a function does, however often it is called."""

_SPANS_TOGETHER = 1_000.0
"""So many per second of all functions together, beside the first of each."""

_NAMED = 5
"""So many compiled modules are named at the end."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add ``run`` to the command's parser."""
    parser = subparsers.add_parser(
        "run",
        help="run a program with its functions monitored, without touching its code",
        usage="codoperf run [options] (SCRIPT | -m MODULE) [argument ...]",
        description="Run a script or a module as python does, monitor the functions that the patterns match,"
        " and send telemetry as configure() does.",
        epilog=f"Patterns are also read from {MONITOR} and {EXCLUDE}, with commas between.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--monitor",
        action="append",
        metavar="PATTERN",
        help="monitor the functions whose module.qualname matches, such as 'package.*'; may be given several"
        " times (default: those of the program itself)",
    )
    parser.add_argument("--exclude", action="append", metavar="PATTERN", help="leave these alone")
    parser.add_argument(
        "--max-spans-per-second",
        metavar="NUMBER",
        help="at most so many spans of each function; metrics count every call"
        f" (default: {MAX_SPANS_PER_SECOND}, else {_SPANS_PER_SECOND:g}, or {FIRST} where all together have"
        f" {_SPANS_TOGETHER:,g} per second)",
    )
    parser.add_argument("--service-name", metavar="NAME", help="service.name of the telemetry")
    parser.add_argument("--endpoint", metavar="URL", help="send telemetry there, as OTLP")
    parser.add_argument("--file", metavar="DIR", help="write telemetry to files in this folder")
    parser.add_argument("-m", dest="is_module", action="store_true", help="run a module, not a script")
    parser.add_argument(
        "program", nargs=argparse.REMAINDER, metavar="PROGRAM", help="the program, and its own arguments"
    )
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Run the program. What it raises leaves here; its exit status is its own."""
    try:
        command = _command(arguments)
        _begin(arguments, _patterns(arguments), _rate(arguments), command)
    except CommandError as error:
        sys.stderr.write(f"codoperf: {error}\n")
        return 2
    start_up = StartUp()
    if _shows_more():
        start_up.begin()
        atexit.register(_tell, start_up, os.getpid())
    if arguments.is_module:
        sys.argv[0] = "-m"
        program.run_module(command[0], start_up.main_begins)
    else:
        program.run_script(command[0], start_up.main_begins)
    return 0


def _command(arguments: argparse.Namespace) -> list[str]:
    """The program and its arguments."""
    given: list[str] = arguments.program
    if given[:1] == ["--"]:
        given = given[1:]
    if not given:
        raise CommandError("run needs a script, or -m and a module")
    return given


def _patterns(arguments: argparse.Namespace) -> Patterns:
    """The patterns that were given, if any."""
    try:
        monitor = option_patterns("--monitor", arguments.monitor, MONITOR)
        exclude = option_patterns("--exclude", arguments.exclude, EXCLUDE)
    except ValueError as error:
        raise CommandError(str(error)) from error
    return Patterns(monitor, exclude)


def _rate(arguments: argparse.Namespace) -> float | None:
    """How many spans a function may have per second, if somebody says."""
    given = arguments.max_spans_per_second
    try:
        return option_or_variable("--max-spans-per-second", given, MAX_SPANS_PER_SECOND, positive)
    except ValueError as error:
        raise CommandError(str(error)) from error


def _default(arguments: argparse.Namespace, name: str) -> list[str]:
    """The program itself: of a module, also the package around it."""
    return ["__main__.*", *([f"{name.partition('.')[0]}.*"] if arguments.is_module else [])]


def _begin(arguments: argparse.Namespace, patterns: Patterns, rate: float | None, command: list[str]) -> None:
    """Set up telemetry while only its own modules can be found: not one beside the program by such a name."""
    if not sys.flags.safe_path:
        del sys.path[0]
    sys.argv = [command[0].rpartition(".")[2], *command[1:]] if arguments.is_module else command
    share = OwnShare()
    atexit.register(_sum_up, share, os.getpid())  # before `configure`, so that it comes after what that does
    try:
        configure(arguments.service_name, endpoint=arguments.endpoint, file=arguments.file)
        _frameworks.start()
        if arguments.monitor or arguments.exclude or not _zero_code.is_running():
            _monitor(
                arguments, patterns, rate, command
            )  # else it is as the file that OTEL_CONFIG_FILE names says
    except (ValueError, ImportError, OSError) as error:
        raise CommandError(str(error)) from error
    share.begin()


def _monitor(
    arguments: argparse.Namespace, patterns: Patterns, rate: float | None, command: list[str]
) -> None:
    used = patterns if patterns.monitor else Patterns(_default(arguments, command[0]), patterns.exclude)
    together = SpanRate(_SPANS_TOGETHER) if rate is None else None
    _zero_code.start(used, rate or _SPANS_PER_SECOND, together)
    if _zero_code.is_running():
        atexit.register(_conclude, patterns, os.getpid())


def _tell(start_up: StartUp, process: int) -> None:
    """Say what the start of the program has cost."""
    start_up.end()
    if os.getpid() != process or start_up.until_main_seconds is None:
        return
    first_line, own, imports = map(
        duration, (start_up.until_main_seconds, start_up.before_seconds, start_up.imports_ns / 1e9)
    )
    most = ", ".join(f"{name} {duration(took / 1e9)}" for name, took in start_up.most_expensive(3))
    of_them = f", most of it {most}" if most else ""
    text = f"{first_line} until the first line ({own} of it Python and codoperf); imports {imports}{of_them}"
    _say(text)


def _conclude(patterns: Patterns, process: int) -> None:
    """Say at the end what is not in the telemetry, if anything."""
    if os.getpid() != process:  # a forked child that ends as a program does
        return
    for pattern in patterns.unused:
        log.warning("codoperf: the pattern %r has matched no function: nothing is monitored by it", pattern)
    if compiled := _zero_code.compiled_modules():
        more = f" and {len(compiled) - _NAMED} more" if len(compiled) > _NAMED else ""
        names = ", ".join(compiled[:_NAMED])
        log.warning("codoperf: functions of compiled modules cannot be monitored: %s%s", names, more)


def _sum_up(share: OwnShare, process: int) -> None:
    """Say what was recorded and what that cost, after the rest was sent."""
    measured = share.end() if os.getpid() == process else None
    calls = sum(cell.totals()[0] for cell in all_cells())
    spans = min(spans_started(), calls)
    if os.getpid() != process or not (calls_over_rate() or (calls and _shows_more())):
        return
    took = f"; telemetry took {measured:.0%} of the CPU time" if measured is not None else ""
    _say(
        f"{calls:,} calls, {spans:,} spans, {calls - spans:,} calls without a span"
        f" (metrics count every call){took}"
    )


def _shows_more() -> bool:
    """Whether standard error is a terminal; else all of it is the program's, unless something is missing."""
    return sys.stderr is not None and sys.stderr.isatty()


def _say(text: str) -> None:
    with suppress(OSError, ValueError, AttributeError):  # the program has closed it
        sys.stderr.write(f"codoperf: {text}\n")
