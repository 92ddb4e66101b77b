"""The agents: a planner that shares the files of a tree out among reviewers that work at the same time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from subprocess import SubprocessError
from typing import TypeVar

from codoperf_otel import agent, current_agent, monitor_performance
from codoperf_otel.demo import sources, tools
from codoperf_otel.demo.analyses import Function
from codoperf_otel.demo.findings import Finding, Report, Review
from codoperf_otel.demo.sources import Source
from codoperf_otel.demo.tools import Toolbox

FILES_PER_SHARE = 8
MAX_COMPLEXITY = 10

R = TypeVar("R")

Progress = Callable[[str, int, int], None]
"""Called with a reviewer's name, how many files it has reviewed, and how many it has to review."""


@agent("complexity-reviewer", description="Names the functions with too many paths through them")
async def review_complexity(files: Sequence[Source], box: Toolbox) -> Report:
    report = _report(files)
    async for functions in _each(files, box.measure, report):
        report.functions += functions
        report.findings += (_too_complex(each) for each in functions if each["complexity"] > MAX_COMPLEXITY)
    return report


def _too_complex(function: Function) -> Finding:
    message = f"{function['name']} has cyclomatic complexity {function['complexity']}"
    return Finding("complexity", function["path"], function["line"], message, function["complexity"])


@agent("lint-reviewer", description="Reports the errors and warnings of the compiler")
async def review_lint(files: Sequence[Source], box: Toolbox) -> Report:
    report = _report(files)
    async for findings in _each(files, box.run_linter, report):
        report.findings += findings
    return report


@agent("copy-reviewer", description="Finds functions that are in the tree more than once")
async def review_copies(files: Sequence[Source], box: Toolbox) -> Report:
    report = _report(files)
    functions = [each async for found in _each(files, box.measure, report) for each in found]
    report.findings += await asyncio.to_thread(tools.find_copies, functions)
    return report


def _report(files: Sequence[Source]) -> Report:
    return Report(current_agent() or "", len(files))


async def _each(files: Sequence[Source], analyse: Callable[[Source], R], report: Report) -> AsyncIterator[R]:
    """What a tool finds in each file; where it fails, that is a finding of the report."""
    for source in files:
        try:
            yield await asyncio.to_thread(analyse, source)
        except SyntaxError:
            continue  # the linter says so
        except (ValueError, RecursionError, MemoryError, OSError, SubprocessError) as error:
            report.findings.append(Finding("unreadable", source.name, 1, f"cannot be analysed: {error!r}"))


def _stages(files: Sequence[Source], box: Toolbox) -> Iterator[list[Callable[[], Awaitable[Report]]]]:
    """First the reviewers that share the files, then the one for whom the cache has what those measured."""
    shares = [files[start : start + FILES_PER_SHARE] for start in range(0, len(files), FILES_PER_SHARE)]
    yield [partial(review, share, box) for share in shares for review in (review_lint, review_complexity)]
    yield [partial(review_copies, files, box)]


@agent("planner", description="Surveys a tree, shares it out among reviewers and sums up what they find")
async def plan(
    path: Path, box: Toolbox, concurrency: int, on_progress: Progress, with_edits: bool = False
) -> Review:
    """Review the tree with so many reviewers at once; raises as `sources.survey` does."""
    files, findings = await _read(survey(path))
    if with_edits:
        files[::FILES_PER_SHARE] = map(sources.edited, files[::FILES_PER_SHARE])
    functions: list[Function] = []
    reviewed: Counter[str] = Counter()
    places = asyncio.Semaphore(concurrency)
    for stage in _stages(files, box):
        async with asyncio.TaskGroup() as group:
            reviews = [group.create_task(_within(places, review)) for review in stage]
            async for report in tools.stream_reports(reviews):
                findings += report.findings
                functions += report.functions
                reviewed[report.reviewer] += report.files
                on_progress(report.reviewer, reviewed[report.reviewer], len(files))
    summary = await asyncio.to_thread(tools.summarise, files, functions)
    functions.sort(key=lambda each: (each["path"], each["line"]))
    findings = sorted(set(findings), key=lambda each: (each.kind, -each.score, each))
    return Review(str(path), summary, tuple(findings), tuple(functions))


async def _within(places: asyncio.Semaphore, review: Callable[[], Awaitable[Report]]) -> Report:
    async with places:
        return await review()


@monitor_performance("survey")
def survey(path: Path) -> sources.Tree:
    """The Python files below a path; raises as `sources.survey` does."""
    return sources.survey(path)


async def _read(tree: sources.Tree) -> tuple[list[Source], list[Finding]]:
    """The files that can be read, and a finding for each that cannot."""
    files: list[Source] = []
    findings = [Finding("unreadable", folder, 0, reason) for folder, reason in tree.closed]
    for name in tree.names:
        try:
            files.append(await asyncio.to_thread(tools.read_file, tree.root, name))
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            findings.append(Finding("unreadable", name, line, str(error)))
        except (OSError, SyntaxError, LookupError, UnicodeError) as error:
            findings.append(Finding("unreadable", name, 1, getattr(error, "strerror", None) or str(error)))
    return files, findings
