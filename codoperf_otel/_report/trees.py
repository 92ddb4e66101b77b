"""Arranges spans as trees, one per trace."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from codoperf_otel._report.model import Span
from codoperf_otel._report.sums import highest, total


@dataclass(slots=True)
class Node:
    """A span with its children in the order of their start.

    ``size`` counts the span and all below it, ``failed`` those of them that failed. ``whole_cpu`` is the CPU
    time of all of them in seconds, child processes included.
    """

    span: Span
    depth: int
    children: list[Node] = field(default_factory=list)
    size: int = 1
    failed: int = 0
    whole_cpu: float | None = None


@dataclass(slots=True)
class Trace:
    """The spans of one trace; ``start`` and ``end`` are nanoseconds since the epoch."""

    trace_id: str
    roots: list[Node]
    start: int
    end: int

    @property
    def wall(self) -> float:
        """Seconds from the first start to the last end."""
        return (self.end - self.start) / 1e9

    @property
    def size(self) -> int:
        """How many spans there are."""
        return sum(root.size for root in self.roots)

    @property
    def failed(self) -> int:
        """How many of them failed."""
        return sum(root.failed for root in self.roots)

    def walk(self) -> Iterator[Node]:
        """Every node, parents first."""
        waiting = self.roots[::-1]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(reversed(node.children))


def traces(spans: Iterable[Span]) -> list[Trace]:
    """The spans by trace, as trees; the longest trace first.

    A span whose parent is not here is a root; so is the first of spans that are each other's parents.
    """
    by_trace: dict[str, list[Span]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: span.start):
        by_trace[span.trace_id].append(span)
    return sorted((_trace(*item) for item in by_trace.items()), key=lambda trace: -trace.wall)


def _trace(trace_id: str, spans: list[Span]) -> Trace:
    known = {span.span_id for span in spans}
    roots: list[Span] = []
    below: dict[str, list[Span]] = defaultdict(list)
    for span in spans:
        (below[span.parent_id] if span.parent_id in known else roots).append(span)
    trees = [_grow(root, below) for root in roots]
    for span in spans:
        if span.parent_id in below:
            below[span.parent_id].remove(span)
            trees.append(_grow(span, below))
    return Trace(trace_id, trees, spans[0].start, max(max(span.start, span.end) for span in spans))


def _grow(root: Span, below: dict[str, list[Span]]) -> Node:
    """Move what is *below* the root into its tree, in a loop: a trace may be deeper than the stack."""
    top = Node(root, 0)
    order = [top]
    for node in order:
        node.children = [Node(span, node.depth + 1) for span in below.pop(node.span.span_id, ())]
        order.extend(node.children)
    for node in reversed(order):
        node.size += sum(child.size for child in node.children)
        node.failed = node.span.failed + sum(child.failed for child in node.children)
        node.whole_cpu = _whole_cpu(node)
    return top


def _whole_cpu(node: Node) -> float | None:
    """A span's own and what is below it; calls without a span are in its inclusive time only."""
    span = node.span
    below = total([span.self_cpu, *(child.whole_cpu for child in node.children)])
    return total([highest([span.cpu, below]), span.child_process_cpu])
