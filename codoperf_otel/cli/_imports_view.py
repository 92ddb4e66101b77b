"""The imports of a program as a person reads them: a tree, the packages by self time, and advice."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from codoperf_otel._imports.advice import Advice, Candidate, Unknown
from codoperf_otel._imports.costs import Import, Package, packages, total_ns
from codoperf_otel.cli import _format
from codoperf_otel.cli._cells import cell, heat
from codoperf_otel.cli._format import DASH
from codoperf_otel.cli._layout import MAX_CELL, Row, Table, cut, fit, lines, show
from codoperf_otel.cli._legend import left_out
from codoperf_otel.cli._text_report import ROWS, console


def render(found: Sequence[Import], advice: Advice, threshold: float) -> None:
    """Write it all to stdout. Imports that took less than *threshold* seconds are left out of the tree."""
    sys.stdout.flush()
    target, whole = console(), total_ns(found)
    count = sum(1 for root in found for _ in root.with_inner())
    show(target, Text(f"{_format.plural(count, 'import')} took {_format.duration(whole / 1e9)}", "bold"))
    shown = _above(found, threshold)
    if shown:
        titles = ("import", "took", "self", "asked by", "CPU", "+memory")
        _table(target, Table(titles, list(_rows(shown, "", threshold, whole)), left=("asked by",)))
    _note_the_rest(target, found, threshold)
    rows = [_package(one, whole) for one in packages(found)[:ROWS]]
    if rows:
        _table(target, Table(("package", "self", "share", "modules"), rows))
    _advise(target, advice)


def _advise(target: Console, advice: Advice) -> None:
    """What could wait, what that saves, and what is not known to be used at all."""
    rows = [
        *(_advised(one, _saves(one), "not in this run") for one in advice.changes),
        *(_advised(one, DASH, _user(one)) for one in advice.put_off),
        *(_advised(one.statement, _at_most(one), f"unknown: {one.reason}") for one in advice.unknown),
    ]
    if rows:
        titles = ("could wait", "saves", "put off", "at", "used")
        _table(target, Table(titles, rows, left=("at", "used")))
    if advice.changes:
        saved = _format.duration(sum(one.saved_ns for one in advice.changes) / 1e9)
        count, them = len(advice.changes), "it" if len(advice.changes) == 1 else "them"
        moved = f"{_format.plural(count, 'import')} moved into the functions that need {them}"
        show(target, Text(f"{moved}: {saved} less; --patch prints the change", "bold"))


def _advised(one: Candidate, saves: str, used: str) -> Row:
    put_off = _format.duration(one.put_off_ns / 1e9) if one.put_off_ns else DASH
    at = _near(one.source.file, one.statement.node.lineno)
    return Row(
        Text(_format.clean(_short(one.text))), [cell(saves), cell(put_off), cell(at, "dim"), cell(used)]
    )


def _short(statement: str) -> str:
    """Of a long dotted name the end, which tells most."""
    return re.sub(r"^from [\w.]+\.(\w+\.\w+) import", r"from …\1 import", statement)


def _saves(one: Candidate) -> str:
    return _format.duration(one.saved_ns / 1e9) if one.saved_ns else "with others"


def _at_most(one: Unknown) -> str:
    return f"≤ {_format.duration(one.took_ns / 1e9)}"


def _user(one: Candidate) -> str:
    return DASH if one.user is None else f"by {_format.clean(one.user.name)}:{one.user.line}"


def _table(target: Console, table: Table) -> None:
    target.print()
    fitted = fit(table, target.width)
    for line in lines(fitted, target.width):
        show(target, line)
    for text in left_out([fitted], target.width):
        show(target, Text(text, "dim"))


def _above(imports: Sequence[Import], threshold: float) -> list[Import]:
    return [one for one in imports if one.duration_ns >= threshold * 1e9]


def _note_the_rest(target: Console, found: Sequence[Import], threshold: float) -> None:
    every = [one for root in found for one in root.with_inner()]
    hidden = len(every) - len(_above(every, threshold))
    if hidden:
        text = f"{_format.plural(hidden, 'import')} of less than {_format.duration(threshold)} not shown"
        show(target, Text(text, "dim"))


def _rows(imports: Sequence[Import], rail: str, threshold: float, whole: int) -> Iterator[Row]:
    for one in imports:
        last = one is imports[-1]
        yield _row(one, f"{rail}{'└─ ' if last else '├─ '}", whole)
        yield from _rows(_above(one.inner, threshold), f"{rail}{'   ' if last else '│  '}", threshold, whole)


def _row(one: Import, lead: str, whole: int) -> Row:
    return Row(
        Text(_format.clean(one.name), "red" if one.error else ""),
        [
            cell(_format.duration(one.duration_ns / 1e9), heat(_share(one.duration_ns, whole))),
            cell(_format.duration(one.self_ns / 1e9), heat(_share(one.self_ns, whole))),
            cell(_asked_by(one), "dim"),
            cell(_format.duration(one.cpu_ns / 1e9)),
            cell(_format.growth(one.memory_bytes)),
        ],
        lead=Text(lead, "dim"),
        tail=Text(f" ✗ {_format.clean(one.error)}" if one.error else "", "red"),
    )


def _asked_by(one: Import) -> str:
    """The last folder, the file and the line."""
    return DASH if one.asked_file is None else _near(one.asked_file, one.asked_line)


def _near(file: str, line: int | None) -> str:
    """The end of it that fits; of a compiled module, which has no lines, what it is called."""
    path = Path(*Path(file).parts[-2:])
    text = str(path.with_name(path.name.partition(".")[0])) if line is None else f"{path}:{line}"
    return cut(Text(_format.clean(text)), MAX_CELL).plain


def _package(package: Package, whole: int) -> Row:
    share = _share(package.self_ns, whole)
    return Row(
        Text(_format.clean(package.name)),
        [
            cell(_format.duration(package.self_ns / 1e9), heat(share)),
            cell(_format.percent(share)),
            cell(_format.number(package.modules)),
        ],
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
