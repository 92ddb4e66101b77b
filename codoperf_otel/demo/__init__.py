"""A code-review agent that shows what the package measures; offline, and the same for the same tree.

A planner surveys a tree of Python files and shares it out among reviewers, which work at the same time and
use tools. :mod:`~codoperf_otel.demo.agents` and :mod:`~codoperf_otel.demo.tools` are the files to copy from:
all that they need of codoperf_otel is imported from its top. What the tools do is in modules beside them.

With N different files that can be read and parsed, and an empty cache, one review is:

======================================================  =================================
operation                                               calls
======================================================  =================================
``code_review``, planner, ``survey``                    1
reviewers of duplication and similarity                 1 each
reviewers of lint, complexity and comments              one each 8 files
``read_file``, ``measure_complexity``, ``find_notes``   N
``run_linter``                                          2 N: py_compile and tabnanny
``outline``, ``list_blocks``                            N
``parse``                                               3 N; none if the cache has it all
``find_near_copies``                                    one each 50 blocks of 30 words
``find_repeats``, ``stream_findings``, ``summarise``    1
======================================================  =================================
"""

from __future__ import annotations

import asyncio
import os
import warnings
from pathlib import Path

from codoperf_otel import CacheManager, performance_context
from codoperf_otel.demo.agents import Progress, plan
from codoperf_otel.demo.findings import Finding, Function, Review, Summary
from codoperf_otel.demo.sources import SurveyError, survey
from codoperf_otel.demo.tools import Toolbox

__all__ = ["Finding", "Function", "Progress", "Review", "Summary", "SurveyError", "review", "survey"]


def review(
    path: str | os.PathLike[str],
    *,
    concurrency: int = 4,
    on_progress: Progress | None = None,
    cache: CacheManager | None = None,
) -> Review:
    """Review a Python file, or all of a folder, with at most *concurrency* reviewers at once.

    Analyses are kept in *cache*, or else in the global one. *on_progress* gets a reviewer's name, how many
    files it has reviewed and how many it has in all. Problems of the files are findings, never exceptions.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "sign.py").write_text("def sign(x):\\n    return -1 if x < 0 else 1\\n")
    ...     found = review(folder, cache=CacheManager(cache_dir=Path(folder, "cache")))
    >>> found.functions
    (Function(path='sign.py', line=1, name='sign', complexity=2),)

    Raises:
        SurveyError: there is nothing to review at *path*.
    """
    box = Toolbox(cache)
    with performance_context("code_review", **{"review.path": str(path)}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the compiler says of the files under review: that is lint
        return asyncio.run(plan(Path(path), box, concurrency, on_progress or _no_progress))


def _no_progress(_reviewer: str, _files: int, _all_files: int) -> None:
    pass
