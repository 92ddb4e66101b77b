"""The agents: a planner that gives the files of a tree to reviewers that work at the same time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import SubprocessError
from typing import ParamSpec, TypeVar, get_args

from codoperf_otel import agent, monitor_performance, propagate_context
from codoperf_otel.demo import linting, similarity, sources, tools
from codoperf_otel.demo.findings import Finding, Function, Kind, Report, Review
from codoperf_otel.demo.similarity import Pair
from codoperf_otel.demo.sources import Source, UndecodableError
from codoperf_otel.demo.tools import NOT_PARSED, Toolbox

FILES_A_SHARE = 8
BLOCKS_A_CALL = 50

P = ParamSpec("P")
R = TypeVar("R")

Reviewer = Callable[[Sequence[Source], Toolbox], Awaitable[Report]]
Progress = Callable[[str, int, int], None]
"""Called with a reviewer's name, how many files it has reviewed, and how many it has to review."""


async def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a tool in a worker thread; what the thread spends around the call is the agent's."""
    return await asyncio.to_thread(propagate_context(function), *args, **kwargs)


@agent("complexity-reviewer", description="Names the functions with too many paths through them")
async def review_complexity(files: Sequence[Source], box: Toolbox) -> Report:
    report = Report()
    async for _, functions in _each(files, box.measure_complexity, report):
        report.functions += functions
        report.findings += [_too_complex(f) for f in functions if f.complexity > tools.MAX_COMPLEXITY]
    return report


def _too_complex(function: Function) -> Finding:
    message = f"{function.name} has cyclomatic complexity {function.complexity}"
    return Finding("complexity", function.path, function.line, message, function.complexity)


@agent("lint-reviewer", description="Reports what the linters of the standard library say")
async def review_lint(files: Sequence[Source], box: Toolbox) -> Report:
    report = Report()
    for source in files:
        for linter in linting.LINTERS:
            try:
                report.findings += await in_thread(box.run_linter, linter, source)
            except (OSError, SubprocessError) as error:
                report.findings.append(Finding("unreadable", source.name, 1, f"no word of {linter}: {error}"))
    return report


@agent("comment-reviewer", description="Lists what the comments say is still to be done")
async def review_comments(files: Sequence[Source], box: Toolbox) -> Report:
    report = Report()
    async for _, findings in _each(files, box.find_notes, report):
        report.findings += findings
    return report


@agent("duplication-reviewer", description="Finds blocks of statements that are there more than once")
async def review_duplication(files: Sequence[Source], box: Toolbox) -> Report:
    report = Report()
    outlines = {source.name: outline async for source, outline in _each(files, box.outline, report)}
    report.findings += await in_thread(tools.find_repeats, outlines)
    return report


@agent("similarity-reviewer", description="Finds functions and blocks that are nearly copies of each other")
async def review_similarity(files: Sequence[Source], box: Toolbox) -> Report:
    report = Report()
    blocks = [block async for _, found in _each(files, box.list_blocks, report) for block in found]
    blocks.sort(key=lambda block: (block["length"], block["path"], block["first"]))
    pairs: list[Pair] = []
    for start in range(0, len(blocks), BLOCKS_A_CALL):
        compared = blocks[start : start + BLOCKS_A_CALL + similarity.NEIGHBOURS]
        pairs += await in_thread(box.find_near_copies, compared, BLOCKS_A_CALL)
    report.findings += map(tools.near_copy, similarity.outermost(pairs))
    return report


async def _each(
    files: Sequence[Source], analyse: Callable[[Source], R], report: Report
) -> AsyncIterator[tuple[Source, R]]:
    """Each file with what a tool gives for it; what cannot be parsed goes to the report instead."""
    for source in files:
        try:
            yield source, await in_thread(analyse, source)
        except SyntaxError:
            continue  # the linter says so
        except NOT_PARSED as error:
            report.findings.append(Finding("unreadable", source.name, 1, f"cannot be analysed: {error!r}"))


@dataclass(frozen=True, slots=True)
class Assignment:
    """Files for a reviewer."""

    name: str
    reviewer: Reviewer
    files: Sequence[Source]


def assign(files: Sequence[Source]) -> Iterator[Assignment]:
    """Share the files out, but give all of them to who compares files with each other."""
    yield Assignment("similarity-reviewer", review_similarity, files)
    yield Assignment("duplication-reviewer", review_duplication, files)
    for start in range(0, len(files), FILES_A_SHARE):
        share = files[start : start + FILES_A_SHARE]
        yield Assignment("lint-reviewer", review_lint, share)
        yield Assignment("complexity-reviewer", review_complexity, share)
        yield Assignment("comment-reviewer", review_comments, share)


@agent("planner", description="Surveys a tree, shares it out among reviewers and sums up what they find")
async def plan(path: Path, box: Toolbox, concurrency: int, on_progress: Progress) -> Review:
    """Review the tree with so many reviewers at once; raises as `sources.survey`."""
    tree = survey(path)
    files, findings = await _read(tree)
    crew = _Crew(list(assign(files)), concurrency, on_progress)
    async with asyncio.TaskGroup() as group:
        reports = [group.create_task(crew.work(assignment, box)) for assignment in crew.assignments]
        async for finding in tools.stream_findings(reports):
            findings.append(finding)
    functions = [function for report in reports for function in report.result().functions]
    findings = _ranked(findings)
    summary = await in_thread(tools.summarise, files, functions, findings)
    functions.sort(key=lambda function: (function.path, function.line))
    return Review(str(path), summary, tuple(findings), tuple(functions))


@monitor_performance("survey")
def survey(path: Path) -> sources.Tree:
    """The Python files below a path; raises as `sources.survey`."""
    return sources.survey(path)


async def _read(tree: sources.Tree) -> tuple[list[Source], list[Finding]]:
    """The files that can be read, and a finding for each that cannot."""
    files: list[Source] = []
    findings = [Finding("unreadable", folder, 0, reason) for folder, reason in tree.closed]
    for name in tree.names:
        try:
            files.append(await in_thread(tools.read_file, tree.root, name))
        except UndecodableError as error:
            findings.append(Finding("unreadable", name, error.line, str(error)))
        except OSError as error:
            findings.append(Finding("unreadable", name, 1, error.strerror or str(error)))
    return files, findings


class _Crew:
    """The reviewers at work: only so many at once, and the progress of each kind."""

    def __init__(self, assignments: Sequence[Assignment], concurrency: int, on_progress: Progress) -> None:
        self.assignments = assignments
        self._places = asyncio.Semaphore(concurrency)
        self._on_progress = on_progress
        self._reviewed: Counter[str] = Counter()
        self._all: Counter[str] = Counter()
        for assignment in assignments:
            self._all[assignment.name] += len(assignment.files)

    async def work(self, assignment: Assignment, box: Toolbox) -> Report:
        async with self._places:
            report = await assignment.reviewer(assignment.files, box)
        self._reviewed[assignment.name] += len(assignment.files)
        self._on_progress(assignment.name, self._reviewed[assignment.name], self._all[assignment.name])
        return report


def _ranked(findings: Sequence[Finding]) -> list[Finding]:
    """Each finding once, by kind, the worst of each kind first."""
    kinds = get_args(Kind)
    return sorted(
        dict.fromkeys(findings),
        key=lambda found: (kinds.index(found.kind), -found.score, found.path, found.line, found.message),
    )
