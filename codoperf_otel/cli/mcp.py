"""``codoperf mcp``: a server that tells an agent what its own operations cost."""

from __future__ import annotations

import argparse
from pathlib import Path

from codoperf_otel._report.files import read
from codoperf_otel.cli._errors import CommandError

_PACKAGES = ("mcp", "pydantic")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add ``mcp`` to the command's parser."""
    parser = subparsers.add_parser(
        "mcp",
        help="let an agent ask what its operations cost, over the Model Context Protocol",
        description="Serve what telemetry files say, over standard input and output, to a client of the Model"
        " Context Protocol. It reads only. Files that grow are read anew.",
    )
    parser.add_argument(
        "path", type=Path, metavar="FILE|DIR", help="an OTLP JSON-lines file, or a folder with such files"
    )
    parser.add_argument(
        "--baseline", type=Path, metavar="FILE|DIR", help="an earlier recording to compare with"
    )
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Serve until the client goes."""
    for path in (arguments.path, arguments.baseline):
        if path is not None:
            read(path)  # what is not there, or not readable, is said now
    try:
        from codoperf_otel.mcp.server import server
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _PACKAGES:
            raise
        raise CommandError("mcp needs the MCP SDK: pip install 'codoperf-otel[mcp]'") from error
    server(arguments.path, arguments.baseline).run()
    return 0
