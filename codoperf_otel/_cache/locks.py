"""Claims of the disk tier: each is the lock of one byte of a file beside the database.

The operating system gives back what a process has when it dies. The lock of a byte costs two microseconds,
a row of the database ten times as much. Windows has no such locks; processes compute for themselves there.
"""

from __future__ import annotations

import errno
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from codoperf_otel import _forks
from codoperf_otel._cache.folder import CLAIMS_FILE, prepare
from codoperf_otel._cache.namespace import Location
from codoperf_otel._telemetry.interrupts import raise_interrupt

fcntl: Any
try:
    import fcntl
except ImportError:
    fcntl = None

_TAKEN = (errno.EACCES, errno.EAGAIN)
_BYTES = 7
"""Of the address: what an offset in a file can hold."""


class _File:
    """An open file of claims. To close it gives back all that the process has in it, opened again or not."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDWR)
        closer = weakref.finalize(self, os.close, self.descriptor)
        closer.atexit = False  # threads that go on would lock another file of the same number


_opening = _forks.ForkSafeLock()
_files: weakref.WeakValueDictionary[tuple[int, int], _File] = weakref.WeakValueDictionary()
"""Those in use, by device and inode: all managers of a folder have the same one."""


def _file_of(path: Path) -> _File:
    prepare(path)
    with _opening.lock:
        found = path.stat()
        which = found.st_dev, found.st_ino
        file = _files.get(which)
        if file is None:
            file = _files[which] = _File(path)
        return file


class Locks:
    """The claims of one folder. One process has the same claim any number of times."""

    def __init__(self, folder: Callable[[], Path]) -> None:
        self._folder = folder
        self._file: _File | None = None

    def claim(self, location: Location) -> bool:
        """Take the claim of a location. False: another process has it. True where that cannot be known."""
        return fcntl is None or self._done(location, fcntl.LOCK_EX | fcntl.LOCK_NB) not in _TAKEN

    def give_back(self, location: Location) -> None:
        """Let others have a claim that this process has."""
        if fcntl is not None:
            self._done(location, fcntl.LOCK_UN)

    def _done(self, location: Location, operation: int) -> int | None:
        """Lock or unlock the byte of a location; why that failed, where it did."""
        try:
            descriptor = self._opened().descriptor
        except OSError as error:
            raise_interrupt(error)
            return None
        try:
            fcntl.lockf(descriptor, operation, 1, int.from_bytes((location.address or b"")[:_BYTES], "big"))
        except OSError as error:
            raise_interrupt(error)
            return error.errno
        return None

    def _opened(self) -> _File:
        """The file; another one where it was removed."""
        if self._file is None or not os.fstat(self._file.descriptor).st_nlink:
            self._file = _file_of(self._folder() / CLAIMS_FILE)
        return self._file
