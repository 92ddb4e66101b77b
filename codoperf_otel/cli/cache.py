"""``codoperf cache``: what a folder of cached values holds, and setting it in order."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codoperf_otel.cli import _format
from codoperf_otel.cli._errors import NEEDS_RICH, CommandError

if TYPE_CHECKING:
    from codoperf_otel._cache.upkeep import Kept


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add ``cache`` to the command's parser."""
    parser = subparsers.add_parser(
        "cache",
        help="show, clear, verify or shrink a folder of cached values",
        description="stats: what each cache has in the folder. clear: remove entries. verify: check every"
        " signature. vacuum: remove what has expired and shrink the file. Programs may use it meanwhile.",
        epilog="No value is read. verify ends with status 1 where an entry is invalid.",
    )
    parser.add_argument("action", choices=tuple(_ACTIONS), metavar="stats|clear|verify|vacuum")
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder of the cache")
    parser.add_argument("--name", metavar="CACHE", help="clear the entries of this cache alone")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Do what the command line asks for."""
    if arguments.name is not None and arguments.action != "clear":
        raise CommandError(f"--name is for clear, not for {arguments.action}")
    try:
        from codoperf_otel._cache import upkeep  # not at the top: every command imports this module
    except ImportError as error:
        raise CommandError(f"this Python has no SQLite: {error}") from error
    try:
        return _ACTIONS[arguments.action](arguments)
    except upkeep.NoCacheError as error:
        raise CommandError(str(error)) from error


def _stats(arguments: argparse.Namespace) -> int:
    from codoperf_otel._cache import upkeep

    found, size = upkeep.kept(arguments.folder), upkeep.file_bytes(arguments.folder)
    caches = [each._asdict() for each in found]
    if arguments.json:
        _print_json({"folder": str(arguments.folder), "file_bytes": size, "caches": caches})
    else:
        _show(arguments.folder, found, size)
    return 0


def _show(folder: Path, found: list[Kept], size: int) -> None:
    try:
        from codoperf_otel.cli import _cache_view
    except ModuleNotFoundError as error:
        raise CommandError(NEEDS_RICH) from error
    _cache_view.render(folder, found, size)


def _clear(arguments: argparse.Namespace) -> int:
    from codoperf_otel._cache import upkeep

    removed = upkeep.clear(arguments.folder, arguments.name)
    _say(arguments, {"removed": removed}, f"{_entries(removed)} removed")
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from codoperf_otel._cache import upkeep

    entries, invalid = upkeep.verify(arguments.folder)
    _say(
        arguments,
        {"entries": entries, "invalid": invalid},
        f"{_entries(entries)}, {invalid:,} of them invalid",
    )
    return 1 if invalid else 0


def _vacuum(arguments: argparse.Namespace) -> int:
    from codoperf_otel._cache import upkeep

    before = upkeep.file_bytes(arguments.folder)
    removed = upkeep.vacuum(arguments.folder)
    after = upkeep.file_bytes(arguments.folder)
    text = f"{_entries(removed)} had expired; {_format.memory(before)} before, {_format.memory(after)} now"
    _say(arguments, {"removed": removed, "bytes_before": before, "bytes_after": after}, text)
    return 0


def _entries(count: int) -> str:
    return f"{count:,} {'entry' if count == 1 else 'entries'}"


def _say(arguments: argparse.Namespace, document: dict[str, Any], text: str) -> None:
    if arguments.json:
        _print_json(document)
    else:
        sys.stdout.write(f"{text}\n")


def _print_json(document: dict[str, Any]) -> None:
    sys.stdout.write(f"{json.dumps(document)}\n")


_ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {
    "stats": _stats,
    "clear": _clear,
    "verify": _verify,
    "vacuum": _vacuum,
}
