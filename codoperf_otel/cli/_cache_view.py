"""The caches of a folder as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from codoperf_otel._cache.upkeep import Kept
from codoperf_otel.cli import _format
from codoperf_otel.cli._cells import cell
from codoperf_otel.cli._layout import Row, Table, fit, lines, show
from codoperf_otel.cli._text_report import console


def render(folder: Path, found: Sequence[Kept], size: int) -> None:
    """Write the folder and its caches to stdout."""
    target = console()
    count = sum(each.entries for each in found)
    entries = f"{count:,} {'entry' if count == 1 else 'entries'}"
    show(target, Text(f"{_format.clean(str(folder))}: {entries}, {_format.memory(size)} on disk", "bold"))
    table = Table(
        ("cache", "entries", "values", "expired", "next expires in", "versions"), [*map(_row, found)]
    )
    for line in lines(fit(table, target.width), target.width) if found else ():
        show(target, line)


def _row(kept: Kept) -> Row:
    return Row(
        Text(_format.clean(kept.name)),
        [
            cell(_format.number(kept.entries)),
            cell(_format.memory(kept.bytes)),
            cell(_format.number(kept.expired)),
            cell(_format.duration(kept.next_expiry_seconds)),
            cell(_format.number(kept.scopes)),
        ],
    )
