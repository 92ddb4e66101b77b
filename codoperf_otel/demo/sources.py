"""The tree under review: which files it has, and their text."""

from __future__ import annotations

import os
import tokenize
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

SUFFIX = ".py"


class SurveyError(ValueError):
    """The path has nothing to review; the text says why."""


@dataclass(frozen=True, slots=True)
class Tree:
    """The Python files below ``root``, by name; ``closed`` are the folders that could not be read."""

    root: Path
    names: tuple[str, ...]
    closed: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """One file: its name below the root, its bytes, and the text they stand for."""

    name: str
    content: bytes
    text: str

    @property
    def lines(self) -> int:
        """How many lines it has, a last one without an end included."""
        return self.text.count("\n") + (self.text[-1:] not in {"", "\n"})


class UndecodableError(ValueError):
    """A file's bytes are not the text that its encoding promises."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


def survey(path: Path) -> Tree:
    """Find the Python files of a folder, or take the one file that *path* is.

    Links are not followed and hidden folders are left out.

    Raises:
        SurveyError: *path* is missing or unreadable, or has no Python file.
    """
    try:
        tree = _walk(path) if path.is_dir() else _single(path)
    except OSError as error:
        raise SurveyError(f"{path}: {error.strerror}") from error
    if not tree.names:
        raise SurveyError(f"{path}: no Python file ({SUFFIX}) in it")
    return tree


def _single(path: Path) -> Tree:
    with path.open("rb"):
        pass
    if path.suffix != SUFFIX or not path.is_file():
        raise SurveyError(f"{path}: neither a folder nor a Python file ({SUFFIX})")
    return Tree(path.parent, (path.name,))


def _walk(root: Path) -> Tree:
    with os.scandir(root):
        pass
    names: list[str] = []
    closed: list[OSError] = []
    for folder, folders, files in os.walk(root, onerror=closed.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found = (Path(folder, name) for name in files if name.endswith(SUFFIX))
        names += (
            file.relative_to(root).as_posix() for file in found if file.is_file() and not file.is_symlink()
        )
    return Tree(root, tuple(sorted(names)), tuple(_closed(root, error) for error in closed))


def _closed(root: Path, error: OSError) -> tuple[str, str]:
    return Path(error.filename).relative_to(root).as_posix(), error.strerror or str(error)


def read(root: Path, name: str) -> Source:
    """Read a file in the encoding that it declares.

    Raises:
        OSError: it cannot be read.
        UndecodableError: it is not text in that encoding.
    """
    content = (root / name).read_bytes()
    try:
        encoding, _ = tokenize.detect_encoding(BytesIO(content).readline)
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UndecodableError(line, f"byte {content[error.start]:#04x} is not {error.encoding}") from error
    except (SyntaxError, LookupError, UnicodeError) as error:
        raise UndecodableError(1, str(error)) from error
    return Source(name, content, text.replace("\r\n", "\n").replace("\r", "\n"))
