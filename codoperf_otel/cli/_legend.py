"""What the titles and marks of a report mean: those that it shows, and no others."""

from __future__ import annotations

import textwrap
from collections.abc import Collection

from codoperf_otel.cli import _format
from codoperf_otel.cli._layout import Table

MEANINGS = {
    "wall": "from start to end",
    "total CPU": "with child CPU, without the agents inside",
    "whole CPU": "of the span, all below it and their programs",
    "self CPU": "without the spans inside",
    "own CPU": "of all that ran for the agent, without the agents inside",
    "child CPU": "of the programs that it started, less their own spans",
    "longest": "of those in one line",
    "waiting": "suspended in await or yield",
    "+memory": "rise of the process's memory meanwhile",
    "peak": "highest memory of the process meanwhile",
    "CPU": "with what it called and awaited, without spans in other tasks",
    "share": "of the CPU of all operations",
    "avg wall": "wall per call",
    "tools": "calls of tools",
    "hits": "share of the cache look-ups",
    "lazy": "modules imported at their first use",
    "saved": "time that computing the hits would have taken",
    "modules": "imported along with it",
    "paid by": "what used it first",
}
_NO_BREAK = "\u00a0"


def legend(tables: Collection[Table], width: int) -> list[str]:
    """The lines that explain what these tables show."""
    titles = {title for table in tables for title in table.titles}
    rows = [row for table in tables for row in table.rows]
    parts = [_part(title, meaning) for title, meaning in MEANINGS.items() if title in titles]
    if any(_format.TIMES in row.tail.plain for row in rows):
        parts.insert(0, _part(f"{_format.TIMES}N", "N in one line, times added up, memory the highest"))
    if any(cell.plain == _format.DASH for row in rows for cell in row.cells):
        parts.append(_part(_format.DASH, "none, or not measured"))
    return _wrapped(f"{_NO_BREAK}· ".join(parts), width)


def left_out(tables: Collection[Table], width: int) -> list[str]:
    """The lines that name the columns for which one of these tables had no room."""
    titles = dict.fromkeys(title for table in tables for title in table.left_out)
    named = ", ".join(title.replace(" ", _NO_BREAK) for title in titles)
    return _wrapped(f"A wider screen also shows: {named}", width) if titles else []


def _wrapped(text: str, width: int) -> list[str]:
    return [line.replace(_NO_BREAK, " ") for line in textwrap.wrap(text, width)]


def _part(title: str, meaning: str) -> str:
    """Title and meaning; no line ends inside the title, nor right behind it."""
    return f"{title}: {meaning}".replace(" ", _NO_BREAK, title.count(" ") + 1)
