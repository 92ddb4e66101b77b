"""``codoperf mcp``: a server that tells an agent what its own operations cost."""

from __future__ import annotations

import argparse
from pathlib import Path

from codoperf_otel._live.client import NoAnswerError, ask
from codoperf_otel._report.files import read
from codoperf_otel.cli._errors import CommandError

_PACKAGES = ("mcp", "pydantic")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add ``mcp`` to the command's parser."""
    parser = subparsers.add_parser(
        "mcp",
        help="let an agent ask what its operations cost, over the Model Context Protocol",
        description="Serve what a running process, or telemetry files, say, over standard input and output,"
        " to a client of the Model Context Protocol. It reads only. Files that grow are read anew.",
    )
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument(
        "path",
        nargs="?",
        type=Path,
        metavar="FILE|DIR",
        help="an OTLP JSON-lines file, or a folder with such files (default: the one process that listens,"
        " by configure(live=True))",
    )
    asked.add_argument("--pid", type=int, metavar="PID", help="the process that is asked")
    parser.add_argument(
        "--baseline", type=Path, metavar="FILE|DIR", help="an earlier recording to compare with"
    )
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Serve until the client goes."""
    _check(arguments)
    try:
        from codoperf_otel.mcp.server import server
        from codoperf_otel.mcp.sources import LiveProcess, Recording
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _PACKAGES:
            raise
        raise CommandError("mcp needs the MCP SDK: pip install 'codoperf-otel[mcp]'") from error
    now = Recording(arguments.path) if arguments.path is not None else LiveProcess(arguments.pid)
    server(now, None if arguments.baseline is None else Recording(arguments.baseline)).run()
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Say now what is not there, or cannot be read. Without a pid, a process may come later."""
    for path in (arguments.path, arguments.baseline):
        if path is not None:
            read(path)
    if arguments.pid is not None:
        try:
            ask(arguments.pid, "resources")
        except NoAnswerError as error:
            raise CommandError(str(error)) from error
