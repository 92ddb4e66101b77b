"""Files of ``/proc/self`` that are read so often that opening them each time would cost too much."""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Lock
from typing import TypeVar

T = TypeVar("T")

_CLOSED = -1


class KeptFile:
    """A file kept open by its descriptor; a forked child opens its own.

    A program may close every descriptor it has, as daemons do, and another file may then bear our
    number: before a write, and after a read that makes no sense, ours is asked for by `descriptor`.
    """

    __slots__ = ("_descriptor", "_flags", "_identity", "_lock", "_path")

    def __init__(self, path: str, flags: int = os.O_RDONLY) -> None:
        self._path = path
        self._flags = flags | getattr(os, "O_CLOEXEC", 0)
        self._reset()
        _kept.append(self)

    def _reset(self) -> None:
        self._lock = Lock()
        self._descriptor = _CLOSED
        self._identity = (0, 0)

    def read(self, size: int, parse: Callable[[bytes], T]) -> T:
        """What `parse` makes of the first `size` bytes.

        Raises:
            OSError: the file cannot be read here.
            ValueError, IndexError: `parse` does not understand the file.
        """
        try:
            return parse(os.pread(self._descriptor, size, 0))
        except (OSError, ValueError, IndexError):
            return parse(os.pread(self.descriptor(), size, 0))

    def descriptor(self) -> int:
        """The file's descriptor, opened anew unless it still names our file. Raises OSError."""
        if self._is_ours():
            return self._descriptor
        with self._lock:
            if not self._is_ours():
                descriptor = os.open(self._path, self._flags)
                self._identity = _identity(descriptor)
                self._descriptor = descriptor
            return self._descriptor

    def _is_ours(self) -> bool:
        try:
            return _identity(self._descriptor) == self._identity
        except OSError:
            return False

    def forked(self) -> None:
        """Let go of the parent's file: its descriptor goes on naming the parent."""
        if self._is_ours():
            os.close(self._descriptor)
        self._reset()


_kept: list[KeptFile] = []


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _forked() -> None:
    for kept in _kept:
        kept.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
