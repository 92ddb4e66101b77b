"""Blocks of statements that are in the tree more than once, whatever their layout and comments."""

from __future__ import annotations

import ast
import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypedDict

MIN_STATEMENTS = 6

_BLOCKS = ("body", "handlers", "orelse", "finalbody", "cases")
_STATEMENTS = ast.stmt | ast.ExceptHandler | ast.match_case


class Statement(TypedDict):
    """A statement, of a compound one the head: its lines, how it hangs on the one before, what it is."""

    first: int
    last: int
    link: str
    digest: str


class Place(NamedTuple):
    """Lines of a file, both ends included."""

    name: str
    first: int
    last: int


Outlines = Mapping[str, list[Statement]]
Start = tuple[str, int]
"""A file and the index of a statement in its outline."""


def outline(tree: ast.Module) -> list[Statement]:
    """The statements of a module in the order of the source; those in a block follow their head."""
    found: list[Statement] = []
    before = 0
    for node, block, depth in _statements(tree):
        first, last = _lines(node)
        found.append(
            Statement(first=first, last=last, link=f"{block}{depth - before:+d}", digest=_digest(node))
        )
        before = depth
    return found


def _statements(tree: ast.Module) -> Iterator[tuple[ast.AST, str, int]]:
    """Every statement, the block of its parent that it is in, and its depth."""
    waiting: list[tuple[ast.AST, str, int]] = [(tree, "", 0)]
    while waiting:
        node, block, depth = waiting.pop()
        if node is not tree:
            yield node, block, depth
        waiting.extend([(child, name, depth + 1) for name, child in _inner(node)][::-1])


def _inner(node: ast.AST) -> list[tuple[str, ast.AST]]:
    """The statements in the blocks of one."""
    return [(name, child) for name in _BLOCKS for child in getattr(node, name, ())]


def _digest(node: ast.AST) -> str:
    """What a statement is, without the blocks in it."""
    parts = [type(node).__name__]
    for name, value in ast.iter_fields(node):
        if name not in _BLOCKS:
            values = value if isinstance(value, list) else [value]
            parts += (ast.dump(item) if isinstance(item, ast.AST) else repr(item) for item in values)
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()


def _lines(node: ast.AST) -> tuple[int, int]:
    """The first and last line of a statement, of a compound one the line it begins in."""
    located = node.pattern if isinstance(node, ast.match_case) else node
    first: int = located.lineno  # type: ignore[attr-defined]
    return first, first if _inner(node) else located.end_lineno  # type: ignore[attr-defined]


def find(outlines: Outlines) -> list[list[Place]]:
    """The places of each repeated block of `MIN_STATEMENTS` or more, the longest block first.

    A block is as long as it is the same at all its places; a shorter one is given too where it is at more.
    """
    covered: set[Start] = set()
    found: list[list[Place]] = []
    for length, starts in sorted(_blocks(outlines), key=lambda block: (-block[0], block[1])):
        statements = [(name, at + offset) for name, at in starts for offset in range(length)]
        if not covered.issuperset(statements):
            covered.update(statements)
            found.append([_place(outlines, start, length) for start in starts])
    return found


def _blocks(outlines: Outlines) -> Iterator[tuple[int, list[Start]]]:
    """Length and starts of each block that cannot begin earlier or end later without losing a place."""
    for starts in _windows(outlines).values():
        if len(starts) > 1 and not _same_before(outlines, starts):
            length = _length(outlines, starts)
            apart = _apart(starts, length)
            if len(apart) > 1:
                yield length, apart


def _windows(outlines: Outlines) -> Mapping[tuple[str, ...], list[Start]]:
    """All runs of `MIN_STATEMENTS` statements, by what they are."""
    windows: dict[tuple[str, ...], list[Start]] = defaultdict(list)
    for name, statements in outlines.items():
        linked = [statement["link"] + statement["digest"] for statement in statements]
        for at in range(len(statements) - MIN_STATEMENTS + 1):
            window = statements[at]["digest"], *linked[at + 1 : at + MIN_STATEMENTS]
            windows[window].append((name, at))
    return windows


def _same_before(outlines: Outlines, starts: list[Start]) -> bool:
    """Whether the block could begin one statement earlier at every place."""
    if any(at == 0 for _, at in starts):
        return False
    before = {(outlines[name][at - 1]["digest"], outlines[name][at]["link"]) for name, at in starts}
    return len(before) == 1


def _length(outlines: Outlines, starts: list[Start]) -> int:
    """How many statements from the starts on are the same everywhere."""
    length = MIN_STATEMENTS
    longest = min(len(outlines[name]) - at for name, at in starts)
    while length < longest:
        following = [outlines[name][at + length] for name, at in starts]
        if len({(statement["link"], statement["digest"]) for statement in following}) > 1:
            break
        length += 1
    return length


def _apart(starts: list[Start], length: int) -> list[Start]:
    """The starts of those places that do not overlap an earlier one."""
    apart = starts[:1]
    for name, at in starts[1:]:
        before, begun = apart[-1]
        if name != before or at >= begun + length:
            apart.append((name, at))
    return apart


def _place(outlines: Outlines, start: Start, length: int) -> Place:
    name, at = start
    block = outlines[name][at : at + length]
    return Place(name, block[0]["first"], max(statement["last"] for statement in block))
