"""Folds a tree of any size so that it fits on a screen.

Many siblings of one name become one line, and what is below them is folded together too. The lines go where
the time went: the longest groups are opened first, until no line is left.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count

from codoperf_otel._report.model import Span
from codoperf_otel._report.trees import Node

FOLD_ABOVE = 3
LINES_PER_PARENT = 10
LINES_PER_TRACE = 60
MAX_DEPTH = 12


@dataclass(slots=True)
class Group:
    """A span, or siblings of one name, as one line; ``hidden`` are the groups below that have no line.

    Where some of the groups below are shown, one line counts the others; where none is, this line does.
    """

    nodes: list[Node]
    depth: int
    children: list[Group] = field(default_factory=list)
    hidden: list[Group] = field(default_factory=list)

    @property
    def spans(self) -> list[Span]:
        """The spans of this line, without those below."""
        return [node.span for node in self.nodes]

    @property
    def unseen(self) -> int:
        """How many spans below have no line."""
        return sum(node.size for group in self.hidden for node in group.nodes)

    @property
    def wall(self) -> float:
        """Seconds of all its spans together."""
        return sum(span.wall or 0.0 for span in self.spans)


def fold(roots: list[Node]) -> Group:
    """A group without a line of its own, whose children are the lines of the trace."""
    whole = Group(roots, -1)
    left, order = LINES_PER_TRACE, count()
    longest_first: list[tuple[float, int, Group]] = [(0.0, next(order), whole)]
    while longest_first:
        *_, group = heapq.heappop(longest_first)
        _open(group, min(LINES_PER_PARENT, left) if group.depth < MAX_DEPTH else 0)
        left -= len(group.children) + bool(group.children and group.hidden)
        for child in group.children:
            heapq.heappush(longest_first, (-child.wall, next(order), child))
    return whole


def _open(group: Group, lines: int) -> None:
    """Give the longest groups below a line each; where not all fit, one line is kept to count the others."""
    below = _below(group)
    ranked = sorted(below, key=lambda child: child.wall, reverse=True)
    shown = {id(child) for child in ranked[: lines if len(below) <= lines else max(lines - 1, 0)]}
    group.children = [child for child in below if id(child) in shown]
    group.hidden = [child for child in below if id(child) not in shown]


def _below(group: Group) -> list[Group]:
    """The children of all spans of the group in the order of their start, many of one name as one group."""
    children: Iterable[Node] = group.nodes
    if group.depth >= 0:
        children = sorted(
            (c for node in group.nodes for c in node.children), key=lambda node: node.span.start
        )
    named: dict[str, list[Node]] = defaultdict(list)
    for node in children:
        named[node.span.name].append(node)
    groups: list[Group] = []
    for nodes in named.values():
        parts = [nodes] if len(nodes) > FOLD_ABOVE else [[node] for node in nodes]
        groups += (Group(part, group.depth + 1) for part in parts)
    return sorted(groups, key=lambda child: child.nodes[0].span.start)
