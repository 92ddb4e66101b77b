"""``codoperf replay``: send what programs could not deliver and have left in a spool."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from codoperf_otel.cli import _format
from codoperf_otel.cli._errors import CommandError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add ``replay`` to the command's parser."""
    parser = subparsers.add_parser(
        "replay",
        help="send what was kept in a spool",
        description="Send the spans, metrics and logs that programs with configure(durable=True) have left in"
        " a folder. What is acknowledged is removed. What running programs are writing is left to them.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder of the spool")
    parser.add_argument(
        "--endpoint", metavar="URL", help="where to send it (default: what OTEL_EXPORTER_OTLP_* say)"
    )
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Send what is there; the status is 1 where some of it is left."""
    folder: Path = arguments.folder
    if not folder.is_dir():
        raise CommandError(f"{folder}: no such folder")
    try:
        from codoperf_otel.sdk.spool.replaying import replay

        found = replay(folder, arguments.endpoint, os.environ)
    except (ImportError, ValueError) as error:
        raise CommandError(str(error)) from error
    delivered = " · ".join(f"{items:,} of {signal}" for signal, items in found.delivered.items() if items)
    sys.stdout.write(f"Delivered: {delivered or 'nothing'}\n")
    if found.refused:
        sys.stderr.write(f"Refused for good by the endpoint, and removed: {found.refused:,}\n")
    if found.stopped:
        sys.stderr.write(
            f"{_format.clean(found.stopped)}: the rest is still in {_format.clean(str(folder))}\n"
        )
    return 1 if found.stopped or found.refused else 0
