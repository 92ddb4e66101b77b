"""The ``codoperf`` command.

Each subcommand is one module here with ``add_parser(subparsers)``, which returns its parser, and
``run(arguments)``, which returns the exit status. The text of a `CommandError` is shown as one line; the exit
status is then 2.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Sequence

from codoperf_otel.__about__ import __version__
from codoperf_otel._report.files import UnreadableError
from codoperf_otel.cli._errors import CommandError

__all__ = ["main"]

COMMANDS = ("cache", "demo", "doctor", "imports", "mcp", "replay", "run", "view")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the ``codoperf`` command with *argv* (default: the process's own) and return its exit status.

    >>> main(["view", "no/such/folder"])
    2
    """
    given = sys.argv[1:] if argv is None else list(argv)
    parser = _parser([name for name in COMMANDS if name in given[:1]] or COMMANDS)
    arguments, unknown = parser.parse_known_args(given)
    if unknown:  # parse_args would show the usage of the whole command
        arguments.refuse(f"unrecognized arguments: {' '.join(unknown)}")
    if arguments.command is None:
        parser.print_help(sys.stderr)
        return 2
    if arguments.command == "run":  # what it writes, raises and ends with is the program's own
        return int(arguments.run(arguments))
    _accept_any_text()
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except (CommandError, UnreadableError) as error:
        sys.stderr.write(f"codoperf: {error}\n")
        return 2
    except BrokenPipeError:
        _leave_closed_pipe()
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def _parser(commands: Sequence[str]) -> argparse.ArgumentParser:
    """A parser that knows these: a command that is named needs no other's modules."""
    parser = argparse.ArgumentParser(prog="codoperf", description="What each operation of a program costs.")
    parser.add_argument("--version", action="version", version=f"codoperf {__version__}")
    parser.set_defaults(refuse=parser.error)
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name in commands:
        module = importlib.import_module(f"codoperf_otel.cli.{name}")
        subparser = module.add_parser(subparsers)
        subparser.set_defaults(run=module.run, refuse=subparser.error)
    return parser


def _accept_any_text() -> None:
    """Let a terminal that lacks a character show ``?`` in its place."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _leave_closed_pipe() -> None:
    """Keep the interpreter's own flush at exit from failing on the closed pipe again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
