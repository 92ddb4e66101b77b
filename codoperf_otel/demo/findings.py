"""What a review finds, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["unreadable", "syntax", "lint", "complexity", "repeat", "near-copy", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding at ``path:line``.

    ``score`` ranks it within its kind: the complexity of a function, the lines of a repeated block, the
    percentage that two blocks share. ``places`` are all places of a repeat or of near copies, as
    ``path:first-last``.
    """

    kind: Kind
    path: str
    line: int
    message: str
    score: int = 0
    places: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the tree and its cyclomatic complexity."""

    path: str
    line: int
    name: str
    complexity: int


@dataclass(slots=True)
class Report:
    """What one reviewer hands back."""

    findings: list[Finding] = field(default_factory=list)
    functions: list[Function] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Summary:
    """The review in figures; complexities are ``None`` for a tree without functions."""

    files: int
    lines: int
    functions: int
    median_complexity: float | None
    highest_complexity: int | None
    findings: dict[str, int]


@dataclass(frozen=True, slots=True)
class Review:
    """A finished review: findings by kind, the worst of each first; functions by place."""

    path: str
    summary: Summary
    findings: tuple[Finding, ...]
    functions: tuple[Function, ...]
