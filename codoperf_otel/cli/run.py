"""``codoperf run``: a program as it is, monitored."""

from __future__ import annotations

import argparse
import atexit
import logging
import os
import sys

from codoperf_otel import _frameworks, _zero_code, configure
from codoperf_otel._environment_variables import EXCLUDE, MONITOR
from codoperf_otel._zero_code import program
from codoperf_otel._zero_code.patterns import Patterns, option_patterns
from codoperf_otel.cli._errors import CommandError

log = logging.getLogger("codoperf_otel.run")


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
        _begin(arguments, _patterns(arguments), command)
    except CommandError as error:
        sys.stderr.write(f"codoperf: {error}\n")
        return 2
    if arguments.is_module:
        sys.argv[0] = "-m"
        program.run_module(command[0])
    else:
        program.run_script(command[0])
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


def _default(arguments: argparse.Namespace, name: str) -> list[str]:
    """The program itself: of a module, also the package around it."""
    return ["__main__.*", *([f"{name.partition('.')[0]}.*"] if arguments.is_module else [])]


def _begin(arguments: argparse.Namespace, patterns: Patterns, command: list[str]) -> None:
    """Set up telemetry while only its own modules can be found: not one beside the program by such a name."""
    if not sys.flags.safe_path:
        del sys.path[0]
    sys.argv = [command[0].rpartition(".")[2], *command[1:]] if arguments.is_module else command
    try:
        configure(arguments.service_name, endpoint=arguments.endpoint, file=arguments.file)
        _frameworks.start()
        if arguments.monitor or arguments.exclude or not _zero_code.is_running():
            _monitor(arguments, patterns, command)  # else it is as the file that OTEL_CONFIG_FILE names says
    except (ValueError, ImportError, OSError) as error:
        raise CommandError(str(error)) from error


def _monitor(arguments: argparse.Namespace, patterns: Patterns, command: list[str]) -> None:
    _zero_code.start(
        patterns if patterns.monitor else Patterns(_default(arguments, command[0]), patterns.exclude)
    )
    if _zero_code.is_running():
        atexit.register(_name_unused, patterns, os.getpid())


def _name_unused(patterns: Patterns, process: int) -> None:
    if os.getpid() != process:  # a forked child that ends as a program does
        return
    for pattern in patterns.unused:
        log.warning("the pattern %r has matched no function: nothing is monitored by it", pattern)
