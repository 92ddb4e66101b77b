"""What a review finds, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from codoperf_otel.demo.analyses import Function

Kind = Literal["unreadable", "syntax", "lint", "complexity", "copy"]


@dataclass(frozen=True, order=True, slots=True)
class Finding:
    """One finding at ``path:line``; ``score`` ranks it within its kind."""

    kind: Kind
    path: str
    line: int
    message: str
    score: int = 0


@dataclass(slots=True)
class Report:
    """What one reviewer hands back about so many files."""

    reviewer: str
    files: int
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


@dataclass(frozen=True, slots=True)
class Review:
    """A finished review: findings by kind, the worst of each first; functions by place."""

    path: str
    summary: Summary
    findings: tuple[Finding, ...]
    functions: tuple[Function, ...]
