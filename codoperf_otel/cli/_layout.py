"""Rows to lines of one width.

rich's own table cannot let a remark run under all columns, keep the end of a cut name, or leave a column out
where the terminal is narrow; this can, and the tree and every table share it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from rich.align import AlignMethod
from rich.console import Console
from rich.text import Text

GAP = 2
MIN_NAME = 12
MAX_CELL = 28

_ASCII = str.maketrans("\u2013\u00d7…·│├└─━✗↓µ", "-x..||`-=x>u")


@dataclass(slots=True)
class Row:
    """A name between ``lead`` and ``tail``, which are never cut, cells, and remarks on lines of their own."""

    name: Text
    cells: list[Text] = field(default_factory=list)
    lead: Text = field(default_factory=Text)
    tail: Text = field(default_factory=Text)
    notes: list[Text] = field(default_factory=list)

    @property
    def around(self) -> int:
        """Columns beside the name."""
        return self.lead.cell_len + self.tail.cell_len


@dataclass(slots=True)
class Table:
    """Titles, that of the names first, and rows; cells are aligned right, but for the columns in ``left``."""

    titles: Sequence[str]
    rows: Sequence[Row]
    left: Collection[str] = ()


def lines(table: Table, width: int) -> Iterator[Text]:
    """The head and the rows; the last columns are left out where the names would have no room."""
    first, *titles = table.titles
    widths = [_column_width(title, table.rows, at) for at, title in enumerate(titles)]
    wanted = max([len(first), *(row.name.cell_len + row.around for row in table.rows)])
    least = max([len(first), *(min(row.name.cell_len, MIN_NAME) + row.around for row in table.rows)])
    while len(widths) > 1 and width - sum(widths) - GAP * len(widths) < least:
        widths.pop()
    room = min(wanted, width - sum(widths) - GAP * len(widths))
    columns = [_column(title, size, table.left) for title, size in zip(titles, widths, strict=False)]
    head = Row(Text(first, "dim"), [Text(title, "dim") for title in titles])
    for row in (head, *table.rows):
        yield _line(row, room, columns)
        yield from row.notes


def _column(title: str, width: int, left: Collection[str]) -> tuple[int, AlignMethod]:
    return width, "left" if title in left else "right"


def _column_width(title: str, rows: Sequence[Row], at: int) -> int:
    return min(max([len(title), *(row.cells[at].cell_len for row in rows if at < len(row.cells))]), MAX_CELL)


def _line(row: Row, room: int, columns: Sequence[tuple[int, AlignMethod]]) -> Text:
    line = Text.assemble(row.lead, cut(row.name, max(room - row.around, 1)), row.tail)
    line.pad_right(room - line.cell_len)
    for cell, (width, side) in zip(row.cells, columns, strict=False):
        aligned = cell.copy()
        aligned.truncate(width, overflow="ellipsis")
        aligned.align(side, width)
        line.append(" " * GAP).append_text(aligned)
    line.rstrip()
    return line


def cut(name: Text, room: int) -> Text:
    """The name in the room it has: of words their beginning, of a dotted name its end."""
    if name.cell_len <= room:
        return name
    if " " in name.plain or "." not in name.plain:
        short = name.copy()
        short.truncate(room, overflow="ellipsis")
        return short
    while name.cell_len >= room and name.plain:
        name = name[1:]
    return Text("…").append_text(name)


def show(console: Console, text: Text) -> None:
    """Print one line, cut at the width of the console; with plain characters where it has no others."""
    text = text.copy()
    text.truncate(console.width, overflow="ellipsis")
    if console.options.ascii_only:
        text.plain = text.plain.translate(_ASCII)
    console.print(text, no_wrap=True)
