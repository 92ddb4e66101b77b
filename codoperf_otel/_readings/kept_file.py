"""Files and folders of ``/proc/self`` that are read so often that opening them each time costs too much."""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import RLock
from typing import TypeVar

from codoperf_otel import _forks
from codoperf_otel._telemetry.interrupts import raise_interrupt

T = TypeVar("T")

UNREADABLE = (OSError, ValueError, IndexError, AttributeError)
"""What using a kept file raises where the platform has no such file, or another one under its name."""

_CLOSED = -1


class KeptFile:
    """A file kept open by its descriptor; a forked child opens its own.

    A program may close every descriptor it has, as daemons do, and another file may then bear our
    `number`: before a write, and after a read that makes no sense, ours is asked for by `descriptor`.
    """

    __slots__ = ("_flags", "_identity", "_lock", "_path", "number")

    def __init__(self, path: str, flags: int = os.O_RDONLY) -> None:
        self._path = path
        self._flags = flags | getattr(os, "O_CLOEXEC", 0)
        self._reset()
        _kept.append(self)

    def _reset(self) -> None:
        self._lock = RLock()
        self.number = _CLOSED
        self._identity = (0, 0)

    def read(self, size: int, parse: Callable[[bytes], T]) -> T:
        """What `parse` makes of the first `size` bytes.

        Raises:
            OSError: the file cannot be read here.
            ValueError, IndexError: `parse` does not understand the file.
        """
        try:
            return parse(os.pread(self.number, size, 0))
        except (OSError, ValueError, IndexError) as error:
            raise_interrupt(error)
            return parse(os.pread(self.descriptor(), size, 0))

    def descriptor(self) -> int:
        """The file's descriptor, opened anew unless it still names our file. Raises OSError."""
        if self._is_ours():
            return self.number
        with self._lock:
            if not self._is_ours():
                descriptor = os.open(self._path, self._flags)
                self._identity = _identity(descriptor)
                self.number = descriptor
            return self.number

    def status(self) -> os.stat_result:
        """The file's status, found without looking up its path. Raises OSError."""
        return os.fstat(self.descriptor())

    def _is_ours(self) -> bool:
        try:
            return self.number != _CLOSED and _identity(self.number) == self._identity
        except OSError as error:
            raise_interrupt(error)
            return False

    def forked(self) -> None:
        """Let go of the parent's file: its descriptor goes on naming the parent."""
        if self._is_ours():
            os.close(self.number)
        self._reset()


_kept: list[KeptFile] = []


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


@_forks.in_child
def _forked() -> None:
    for kept in _kept:
        kept.forked()
