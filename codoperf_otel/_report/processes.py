"""Traces through several processes: what a child process says of itself is in its starter's figure, too."""

from __future__ import annotations

from collections.abc import Sequence

from codoperf_otel._report.model import Span
from codoperf_otel._report.trees import Node, traces


def count_once(spans: Sequence[Span]) -> None:
    """Leave out of the CPU time of child processes what spans below, of other processes, have of it."""
    if len({span.process for span in spans}) > 1:
        for trace in traces(spans):
            _count_once(list(trace.walk()))


def _count_once(nodes: list[Node]) -> None:
    taken: dict[int, float] = {}  # by a span and all below it
    elsewhere: dict[int, float] = {}  # by spans below that are of other processes, and counted by nobody yet
    for node in reversed(nodes):
        span, children = node.span, node.children
        below = sum((elsewhere if _is_beside(node, child) else taken)[id(child)] for child in children)
        span.counted_below = min(below, span.child_process_cpu or 0.0)
        elsewhere[id(node)] = below - span.counted_below
        taken[id(node)] = (span.total_cpu or 0.0) + sum(taken[id(child)] for child in children)


def _is_beside(node: Node, child: Node) -> bool:
    return node.span.process == child.span.process
