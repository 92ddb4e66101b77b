"""A code-review agent that shows what the package measures; offline, and the same for the same tree.

A planner surveys a tree of Python files and shares it out among reviewers, which work at the same time and
use tools. :mod:`~codoperf_otel.demo.agents` and :mod:`~codoperf_otel.demo.tools` are the files to copy from:
all that they need of codoperf_otel is imported from its top. What the tools do is in the modules beside them.

One review is a call of ``code_review``, the planner, ``survey``, the copy-reviewer, ``find_copies`` and
``summarise``, two of ``stream_reports``, and one of each other reviewer per 8 files; and per file a call of
``read_file`` and ``run_linter``, two of ``measure``, and one of ``parse``, unless the cache has it.
"""

from __future__ import annotations

import asyncio
import os
import warnings
from pathlib import Path

from codoperf_otel import CacheManager, performance_context
from codoperf_otel.demo.agents import Progress, plan
from codoperf_otel.demo.analyses import Function
from codoperf_otel.demo.findings import Finding, Review, Summary
from codoperf_otel.demo.sources import SurveyError, survey
from codoperf_otel.demo.tools import Toolbox

__all__ = ["Finding", "Function", "Progress", "Review", "Summary", "SurveyError", "review", "survey"]


def review(
    path: str | os.PathLike[str],
    *,
    concurrency: int = 4,
    on_progress: Progress | None = None,
    cache: CacheManager | None = None,
    with_edits: bool = False,
) -> Review:
    """Review a Python file, or all of a folder, with at most *concurrency* reviewers at once.

    Analyses are kept in *cache*, or else in the global one. *with_edits* adds a line to one file in eight
    once it is read, so that the cache of an earlier review lacks what is found in it. Problems of the files
    are findings, never exceptions; `SurveyError` says that there is nothing to review at *path*.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "sign.py").write_text("def sign(x):\\n    return -1 if x < 0 else 1\\n")
    ...     (sign,) = review(folder, cache=CacheManager(cache_dir=Path(folder, "cache"))).functions
    >>> sign["path"], sign["name"], sign["complexity"]
    ('sign.py', 'sign', 2)
    """
    box = Toolbox(cache)
    with performance_context("code_review", **{"review.path": str(path)}), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # the compiler's, about the files under review: the linter reports them
        return asyncio.run(plan(Path(path), box, concurrency, on_progress or (lambda *_: None), with_edits))
