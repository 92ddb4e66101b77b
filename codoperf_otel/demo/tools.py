"""The reviewers' tools: plain functions, decorated.

What takes long is cached by the text that it is about. ``@tool`` stands outside of the cache: a hit is a
call, too.
"""

from __future__ import annotations

import ast
import asyncio
import sys
import tokenize
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from io import BytesIO, StringIO
from pathlib import Path
from threading import Lock

from codoperf_otel import CacheManager, cached_function, lazy_import, monitor_performance, tool
from codoperf_otel.demo.analyses import Function, Measured, lint, measure_functions
from codoperf_otel.demo.findings import Finding, Report, Summary
from codoperf_otel.demo.sources import Source

statistics = lazy_import("statistics")

VERSION = f"2, Python {sys.version}"  # the compiler of another Python may find something else
MIN_COPIED_LINES = 5

_parsing = Lock()  # before 3.11.9 and 3.12.3, two threads at once can make ast.parse raise SystemError


@tool("read_file", description="Reads a file in the encoding it declares")
def read_file(root: Path, name: str) -> Source:
    """The file; raises OSError, or SyntaxError, LookupError or UnicodeError where it is not such text."""
    content = (root / name).read_bytes()
    encoding, _ = tokenize.detect_encoding(BytesIO(content).readline)
    text = content.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    return Source(name, content, text)


@monitor_performance("parse")
def parse(text: str) -> ast.Module:
    """The syntax tree; raises SyntaxError, or ValueError, RecursionError or MemoryError."""
    with _parsing:
        return ast.parse(text)


def _measure(text: str) -> list[Measured]:
    return measure_functions(parse(text))


class Toolbox:
    """The tools that remember, in *cache* or else in the global one, what they found."""

    def __init__(self, cache: CacheManager | None = None) -> None:
        remember = cached_function(ttl=7 * 24 * 3600, cache_manager=cache, version=VERSION)
        self._measure = remember(_measure)
        self._lint = remember(lint)

    @tool("measure", description="Finds the functions of a file, and how complex each is")
    def measure(self, source: Source) -> list[Function]:
        """Every function of the file; raises as `parse` does."""
        return [Function(path=source.name, **measured) for measured in self._measure(source.text)]

    @tool("run_linter", description="Runs the compiler as a program of its own, for its errors and warnings")
    def run_linter(self, source: Source) -> list[Finding]:
        """What the compiler says about the file; raises as `lint` does."""
        return [Finding(path=source.name, **problem) for problem in self._lint(source.content)]


@tool("find_copies", description="Finds functions that are in the tree more than once")
def find_copies(functions: Iterable[Function]) -> list[Finding]:
    """One finding per function of `MIN_COPIED_LINES` or more that has the code of an earlier one."""
    by_code: dict[str, list[Function]] = defaultdict(list)
    for function in functions:
        if function["last_line"] - function["line"] + 1 >= MIN_COPIED_LINES:
            by_code[function["digest"]].append(function)
    return [_copy(first, copy) for first, *copies in by_code.values() for copy in copies]


def _copy(first: Function, copy: Function) -> Finding:
    lines = copy["last_line"] - copy["line"] + 1
    message = f"{copy['name']} is a copy of {first['path']}:{first['line']}"
    return Finding("copy", copy["path"], copy["line"], message, lines)


@tool("stream_reports", description="Gives out the report of each reviewer as soon as it is done")
async def stream_reports(reviews: Iterable[asyncio.Task[Report]]) -> AsyncIterator[Report]:
    """The reports, in the order in which the reviewers end."""
    for review in asyncio.as_completed(reviews):
        yield await review


@tool("summarise", description="Sums a review up in figures")
def summarise(files: Sequence[Source], functions: Sequence[Function]) -> Summary:
    """The figures of the review."""
    complexities = [function["complexity"] for function in functions]
    return Summary(
        files=len(files),
        lines=sum(len(StringIO(source.text).readlines()) for source in files),
        functions=len(functions),
        median_complexity=statistics.median(complexities) if complexities else None,
        highest_complexity=max(complexities, default=None),
    )
