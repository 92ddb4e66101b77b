"""The real stack: Collector, Jaeger and Prometheus, built once and run on loopback."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from build import build
from parts import PARTS, StackError, locate
from run import down, up
from services import Ports


def main() -> None:
    """Run one command; a failure is one message and exit code 1."""
    arguments = _parser().parse_args()
    try:
        arguments.run(arguments)
    except (StackError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="stack", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("build", help="make every program available: PATH, the cache, or a build")
    command.set_defaults(run=lambda _: build())

    command = commands.add_parser("path", help="print where a program is")
    command.add_argument("name", choices=PARTS)
    command.set_defaults(run=lambda given: print(locate(given.name)))

    command = commands.add_parser("up", help="start all three and print their addresses")
    _add_folder(command)
    command.add_argument("--free-ports", action="store_true", help="any free ports, not the usual ones")
    command.set_defaults(run=lambda given: up(given.dir, Ports.free() if given.free_ports else Ports()))

    command = commands.add_parser("down", help="stop what `up` started; the data stay")
    _add_folder(command)
    command.set_defaults(run=lambda given: down(given.dir))
    return parser


def _add_folder(command: argparse.ArgumentParser) -> None:
    where = "data, logs and addresses.json (default: %(default)s)"
    command.add_argument("--dir", type=Path, default=Path(".stack"), help=where)


if __name__ == "__main__":
    main()
