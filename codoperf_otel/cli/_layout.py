"""Lays rows out as lines of one width.

rich's own table cannot let a note run under all columns, keep the end of a name that is cut, or leave columns
out where the terminal is narrow. The tree and all tables share this one, which can.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

from rich.align import AlignMethod
from rich.console import Console
from rich.text import Text

from codoperf_otel.cli._format import DASH

GAP = 2
MIN_NAME = 20
MAX_CELL = 28

_ASCII = str.maketrans("\u2013\u00d7…·│├└─━✗↓µ≤", "-x..||`-=x>u<")


@dataclass(slots=True)
class Row:
    """A name between ``lead`` and ``tail``, which are never cut; cells; and notes on lines of their own."""

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
    """Titles, that of the names first, and rows; cells are aligned right, except in the ``left`` columns.

    Where the terminal is too narrow for a column that is ``needed``, the table goes on below.
    """

    titles: Sequence[str]
    rows: Sequence[Row]
    left: Collection[str] = ()
    left_out: Sequence[str] = ()
    needed: Collection[str] = ()


def fit(table: Table, width: int) -> Table:
    """The table without empty columns, and without the last ones where they leave names too little room.

    The titles of these last ones are in ``left_out``.
    """
    filled = [at for at in range(len(table.titles) - 1) if not all(_is_empty(row, at) for row in table.rows)]
    widths = [_column_width(table, at) for at in filled]
    least = _names_width(table, MIN_NAME)
    while len(widths) > 1 and width - sum(widths) - GAP * len(widths) < least:
        widths.pop()
    kept, left_out = filled[: len(widths)], filled[len(widths) :]
    rows = [replace(row, cells=[row.cells[at] for at in kept if at < len(row.cells)]) for row in table.rows]
    first, *titles = table.titles
    return Table(
        [first, *(titles[at] for at in kept)], rows, table.left, [titles[at] for at in left_out if titles[at]]
    )


def parts(table: Table, width: int) -> Iterator[Table]:
    """The table as it fits, and below it what it has no room for, if some of it is needed."""
    fitted = fit(table, width)
    if not set(table.needed) & set(fitted.left_out):
        yield fitted
        return
    yield replace(fitted, left_out=())
    kept = [at for at, title in enumerate(table.titles[1:]) if title in fitted.left_out]
    rows = [replace(row, cells=[row.cells[at] for at in kept], notes=[]) for row in table.rows]
    yield from parts(replace(table, titles=[table.titles[0], *fitted.left_out], rows=rows), width)


def lines(table: Table, width: int) -> Iterator[Text]:
    """The head and the rows, each with its notes."""
    first, *titles = table.titles
    widths = [_column_width(table, at) for at in range(len(titles))]
    room = min(_names_width(table), width - sum(widths) - GAP * len(widths))
    columns = [_column(title, size, table.left) for title, size in zip(titles, widths, strict=True)]
    head = Row(Text(first, "dim"), [Text(title, "dim") for title in titles])
    for row in (head, *table.rows):
        yield _line(row, room, columns)
        yield from row.notes


def _is_empty(row: Row, at: int) -> bool:
    return at >= len(row.cells) or row.cells[at].plain in {"", DASH}


def _names_width(table: Table, limit: int | None = None) -> int:
    """How wide the names are with what is around them; no name counts for more than *limit*."""
    sizes = [row.name.cell_len if limit is None else min(row.name.cell_len, limit) for row in table.rows]
    around = [row.around for row in table.rows]
    return max([len(table.titles[0]), *map(sum, zip(sizes, around, strict=True))])


def _column(title: str, width: int, left: Collection[str]) -> tuple[int, AlignMethod]:
    return width, "left" if title in left else "right"


def _column_width(table: Table, at: int) -> int:
    cells = (row.cells[at].cell_len for row in table.rows if at < len(row.cells))
    return min(max([len(table.titles[at + 1]), *cells]), MAX_CELL)


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
    """The name in the room that it has: the end of a dotted name, the beginning of any other."""
    if name.cell_len <= room:
        return name
    if " " in name.plain or "." not in name.plain:
        short = name.copy()
        short.truncate(room, overflow="ellipsis")
        return short
    while name.cell_len >= room and name.plain:
        name = name[1:]
    return Text("…").append_text(name)


def show(console: Console, text: Text, *, wrap: bool = False) -> None:
    """Print a text, cut or wrapped at the console's width, in ASCII where the console has nothing else."""
    text = text.copy()
    if console.options.ascii_only:
        text.plain = text.plain.translate(_ASCII)
    for line in text.wrap(console, console.width) if wrap else [text]:
        line.truncate(console.width, overflow="ellipsis")
        console.print(line, no_wrap=True)
