"""Functions and blocks that are nearly the same, wherever in the tree they are."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypedDict

from codoperf_otel import lazy_import

difflib = lazy_import("difflib")

MIN_WORDS = 30
MIN_RATIO = 0.8
NEIGHBOURS = 400
"""A block is compared with so many of the next longer ones: work grows with the tree, not its square."""

_COMPOUND = (
    ast.FunctionDef | ast.AsyncFunctionDef | ast.If | ast.For | ast.AsyncFor | ast.While
    | ast.With | ast.AsyncWith | ast.Try | ast.TryStar | ast.Match
)  # fmt: skip


class Block(TypedDict):
    """A function or another compound statement; ``code`` is it without comments and layout."""

    first: int
    last: int
    name: str
    length: int
    code: str


class Placed(Block):
    """A block and the file it is in."""

    path: str


class Match(TypedDict):
    """Two of the blocks that were compared, by index, and how much they have in common."""

    one: int
    other: int
    percent: int


class Pair(NamedTuple):
    """Two blocks and how much they have in common."""

    one: Placed
    other: Placed
    percent: int


def blocks(tree: ast.Module) -> list[Block]:
    """The functions and other compound statements of a module that have `MIN_WORDS` or more."""
    found = (_block(node) for node in ast.walk(tree) if isinstance(node, _COMPOUND))
    return [block for block in found if block["length"] >= MIN_WORDS]


def _block(node: ast.stmt) -> Block:
    code = ast.unparse(node)
    return Block(
        first=node.lineno,
        last=node.end_lineno or node.lineno,
        name=getattr(node, "name", "") or f"this {code.split(maxsplit=1)[0].rstrip(':')}",
        length=len(words(code)),
        code=code,
    )


def words(code: str) -> list[str]:
    """Names, numbers and single signs."""
    return re.findall(r"\w+|[^\w\s]", code)


def near_copies(sorted_blocks: list[Placed], count: int) -> list[Match]:
    """The best match of each of the first *count* blocks among the `NEIGHBOURS` after it, sorted by length.

    How much two have in common is the ratio of :class:`difflib.SequenceMatcher` over their words; below
    `MIN_RATIO` they do not match.
    """
    split = [words(block["code"]) for block in sorted_blocks]
    found = (_best(sorted_blocks, split, at) for at in range(min(count, len(split))))
    return [match for match in found if match is not None]


def _best(sorted_blocks: list[Placed], split: list[list[str]], at: int) -> Match | None:
    best = MIN_RATIO
    match: Match | None = None
    matcher = difflib.SequenceMatcher(None, autojunk=False)
    matcher.set_seq2(split[at])
    for index in range(at + 1, min(at + 1 + NEIGHBOURS, len(split))):
        matcher.set_seq1(split[index])
        if matcher.real_quick_ratio() < best:
            break  # they only get longer
        if _within(sorted_blocks[at], sorted_blocks[index]):
            continue
        if matcher.quick_ratio() >= best and (ratio := matcher.ratio()) >= best:
            best = ratio
            match = Match(one=at, other=index, percent=int(100 * ratio))
    return match


def outermost(pairs: Iterable[Pair]) -> Iterator[Pair]:
    """The pairs that are not in the blocks of another pair."""
    by_files: dict[frozenset[str], list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_files[frozenset((pair.one["path"], pair.other["path"]))].append(pair)
    for group in by_files.values():
        for pair in group:
            if not any(_part_of(pair, whole) for whole in group if whole is not pair):
                yield pair


def _part_of(pair: Pair, whole: Pair) -> bool:
    return (_within(pair.one, whole.one) and _within(pair.other, whole.other)) or (
        _within(pair.one, whole.other) and _within(pair.other, whole.one)
    )


def _within(inner: Placed, outer: Placed) -> bool:
    return (
        inner["path"] == outer["path"] and outer["first"] <= inner["first"] and inner["last"] <= outer["last"]
    )
