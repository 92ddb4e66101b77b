"""Linters of the standard library, each run as a program of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TypedDict

from codoperf_otel import lazy_import

tempfile = lazy_import("tempfile")

LINTERS = ("py_compile", "tabnanny")
TIMEOUT = 60.0

_FILE = "source.py"
_WARNING = re.compile(rf"^{_FILE}:(?P<line>\d+): (?P<message>\w*Warning: .+)$", re.MULTILINE)
_ERROR = re.compile(rf'^  File "{_FILE}", line (?P<line>\d+)$', re.MULTILINE)
_SORRY = re.compile(rf"^Sorry: (?P<message>.+) \({_FILE}, line (?P<line>\d+)\)", re.MULTILINE)
_INDENT = re.compile(rf"^{_FILE} (?P<line>\d+) ", re.MULTILINE)


class Problem(TypedDict):
    """What a linter says of a line; ``fatal`` where it keeps the file from being compiled."""

    line: int
    message: str
    fatal: bool


def lint(linter: str, content: bytes) -> list[Problem]:
    """What *linter*, one of `LINTERS`, says of a file of this content.

    It gets a copy, because py_compile would leave its result beside the original.

    Raises:
        OSError, SubprocessError: it cannot be started, or does not end in `TIMEOUT` seconds.
    """
    with tempfile.TemporaryDirectory(prefix="codoperf-demo-") as folder:
        Path(folder, _FILE).write_bytes(content)
        command = [sys.executable, "-I", "-X", "utf8", "-W", "always", "-m", linter, _FILE]
        ended = subprocess.run(
            command, cwd=folder, capture_output=True, encoding="utf-8", errors="replace", timeout=TIMEOUT
        )
    return _indentation(ended) if linter == "tabnanny" else _compilation(ended)


def _indentation(ended: subprocess.CompletedProcess[str]) -> list[Problem]:
    return [
        _problem(match["line"], "tabs and spaces are mixed: the indentation depends on the width of a tab")
        for match in _INDENT.finditer(ended.stdout)
    ]


def _compilation(ended: subprocess.CompletedProcess[str]) -> list[Problem]:
    problems = [_problem(match["line"], match["message"]) for match in _WARNING.finditer(ended.stderr)]
    if ended.returncode:
        problems.append(_failure(ended))
    return problems


def _failure(ended: subprocess.CompletedProcess[str]) -> Problem:
    """Why a file cannot be compiled: one line for most errors, a traceback's end for a syntax error."""
    if sorry := _SORRY.search(ended.stderr):
        return _problem(sorry["line"], sorry["message"], fatal=True)
    error = _ERROR.search(ended.stderr)
    said = ended.stderr.strip().rpartition("\n")[2] or f"the compiler ended with status {ended.returncode}"
    return _problem(error["line"] if error else 1, said, fatal=True)


def _problem(line: str | int, message: str, *, fatal: bool = False) -> Problem:
    return Problem(line=max(int(line), 1), message=message, fatal=fatal)
