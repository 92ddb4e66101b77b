"""The reviewers' tools: plain functions, decorated.

What takes long is cached by the text it is of. ``@tool`` stands outside of the cache, so that a hit is a call
too.
"""

from __future__ import annotations

import ast
import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from threading import Lock

from codoperf_otel import CacheManager, cached_function, lazy_import, monitor_performance, tool
from codoperf_otel.demo import complexity, linting, notes, repeats, similarity, sources
from codoperf_otel.demo.findings import Finding, Function, Report, Summary
from codoperf_otel.demo.similarity import Block, Pair, Placed
from codoperf_otel.demo.sources import Source

statistics = lazy_import("statistics")

A_WEEK = 7 * 24 * 3600
VERSION = f"1, Python {sys.version}"
"""Of the analyses: no other Python's compiler finds quite the same."""

MAX_COMPLEXITY = 10
NOT_PARSED = (SyntaxError, ValueError, RecursionError, MemoryError)
"""What `parse`, and a walk through what it gave, can raise: not Python, or nested too deep."""

_parsing = Lock()  # before 3.11.9 and 3.12.3, two threads at once can make ast.parse raise SystemError


@tool("read_file", description="Reads a file in the encoding it declares")
def read_file(root: Path, name: str) -> Source:
    """The file; raises as `sources.read`."""
    return sources.read(root, name)


@tool("parse", description="Makes a syntax tree of a text")
def parse(text: str) -> ast.Module:
    """The syntax tree; raises one of `NOT_PARSED`."""
    with _parsing:
        return ast.parse(text)


def _complexities(text: str) -> list[complexity.Measured]:
    return complexity.measure(parse(text))


def _outline(text: str) -> list[repeats.Statement]:
    return repeats.outline(parse(text))


def _blocks(text: str) -> list[Block]:
    return similarity.blocks(parse(text))


class Toolbox:
    """The tools that remember, in *cache* or else in the global one, what they found."""

    def __init__(self, cache: CacheManager | None = None) -> None:
        remember = cached_function(ttl=A_WEEK, cache_manager=cache, version=VERSION)
        self._complexities = remember(_complexities)
        self._outline = remember(_outline)
        self._blocks = remember(_blocks)
        self._near_copies = remember(similarity.near_copies)
        self._notes = remember(notes.find)
        self._lint = remember(linting.lint)

    @tool("measure_complexity", description="Counts the paths through each function of a file")
    def measure_complexity(self, source: Source) -> list[Function]:
        """Every function of the file; raises one of `NOT_PARSED`."""
        return [
            Function(source.name, found["line"], found["name"], found["complexity"])
            for found in self._complexities(source.text)
        ]

    @tool("run_linter", description="Runs a linter of the standard library as a program of its own")
    def run_linter(self, linter: str, source: Source) -> list[Finding]:
        """What one of `linting.LINTERS` says of the file."""
        return [
            Finding("syntax" if said["fatal"] else "lint", source.name, said["line"], said["message"])
            for said in self._lint(linter, source.content)
        ]

    @tool("find_notes", description="Finds the comments that say what is still to be done")
    def find_notes(self, source: Source) -> list[Finding]:
        """One finding a comment; raises SyntaxError."""
        return [
            Finding("note", source.name, note["line"], note["message"]) for note in self._notes(source.text)
        ]

    @monitor_performance("outline")
    def outline(self, source: Source) -> list[repeats.Statement]:
        """The statements of a file; raises one of `NOT_PARSED`."""
        return self._outline(source.text)

    @monitor_performance("list_blocks")
    def list_blocks(self, source: Source) -> list[Placed]:
        """The blocks of a file that are long enough to compare; raises one of `NOT_PARSED`."""
        return [Placed(path=source.name, **block) for block in self._blocks(source.text)]

    @tool("find_near_copies", description="Compares blocks with the next longer ones of the tree")
    def find_near_copies(self, sorted_blocks: list[Placed], count: int) -> list[Pair]:
        """The best match of each of the first *count* blocks."""
        return [
            Pair(sorted_blocks[match["one"]], sorted_blocks[match["other"]], match["percent"])
            for match in self._near_copies(sorted_blocks, count)
        ]


@tool("find_repeats", description="Finds blocks of statements that are in the tree more than once")
def find_repeats(outlines: repeats.Outlines) -> list[Finding]:
    """One finding a repeated block."""
    return [_repeat(places) for places in repeats.find(outlines)]


def _repeat(places: Sequence[repeats.Place]) -> Finding:
    first, second, *others = [f"{place.name}:{place.first}-{place.last}" for place in places]
    name, begins, ends = places[0]
    more = f" and {len(others)} more" if others else ""
    message = f"{ends - begins + 1} lines, again at {second}{more}"
    return Finding("repeat", name, begins, message, ends - begins + 1, (first, second, *others))


def near_copy(pair: Pair) -> Finding:
    """The finding for a pair of blocks."""
    one, other, percent = pair
    places = tuple(f"{block['path']}:{block['first']}-{block['last']}" for block in (one, other))
    message = f"{one['name']} is {percent} % the same as {other['name']} at {other['path']}:{other['first']}"
    return Finding("near-copy", one["path"], one["first"], message, percent, places)


@tool("stream_findings", description="Gives out the findings of each reviewer as soon as it is done")
async def stream_findings(reports: Iterable[asyncio.Task[Report]]) -> AsyncIterator[Finding]:
    """The findings, in the order in which the reviewers end."""
    for report in asyncio.as_completed(reports):
        for finding in (await report).findings:
            yield finding


@tool("summarise", description="Sums a review up in figures")
def summarise(files: Sequence[Source], functions: Sequence[Function], findings: Sequence[Finding]) -> Summary:
    """The figures of the review."""
    complexities = [function.complexity for function in functions]
    return Summary(
        files=len(files),
        lines=sum(source.lines for source in files),
        functions=len(functions),
        median_complexity=statistics.median(complexities) if complexities else None,
        highest_complexity=max(complexities, default=None),
        findings=dict(Counter(finding.kind for finding in findings)),
    )
