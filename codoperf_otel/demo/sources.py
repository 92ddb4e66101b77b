"""The tree under review and its files."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

SUFFIX = ".py"


class SurveyError(ValueError):
    """The path has nothing to review; the text says why."""


@dataclass(frozen=True, slots=True)
class Tree:
    """The Python files below ``root``, by name; ``closed`` are folders that could not be read, and why."""

    root: Path
    names: tuple[str, ...]
    closed: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """One file: its name below the root, its bytes, and the text they stand for."""

    name: str
    content: bytes
    text: str


def survey(path: Path) -> Tree:
    """Find the Python files of a folder, or take the one file that *path* is.

    Links are not followed, and hidden folders are left out.

    Raises:
        SurveyError: *path* is missing or unreadable, or has no Python file.
    """
    try:
        with path.open("rb") if path.is_file() else os.scandir(path):
            tree = _walk(path) if path.is_dir() else Tree(path.parent, (path.name,) * (path.suffix == SUFFIX))
    except OSError as error:
        raise SurveyError(f"{path}: {error.strerror}") from error
    if not tree.names:
        raise SurveyError(f"{path}: no Python file ({SUFFIX})")
    return tree


def _walk(root: Path) -> Tree:
    names: list[str] = []
    closed: list[OSError] = []
    for folder, folders, files in os.walk(root, onerror=closed.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found = (Path(folder, name) for name in files if name.endswith(SUFFIX))
        names += (_name(root, file) for file in found if file.is_file() and not file.is_symlink())
    refused = ((_name(root, Path(error.filename)), error.strerror or str(error)) for error in closed)
    return Tree(root, tuple(sorted(names)), tuple(refused))


def _name(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def edited(source: Source) -> Source:
    """The file with a comment added at its end."""
    comment = "\n# edited\n"
    return replace(source, content=source.content + comment.encode(), text=source.text + comment)
