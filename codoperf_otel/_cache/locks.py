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

from codoperf_otel._cache.folder import prepare
from codoperf_otel._cache.namespace import Location
from codoperf_otel._telemetry.interrupts import raise_interrupt

fcntl: Any
try:
    import fcntl
except ImportError:
    fcntl = None

FILE = "claims.lock"
_TAKEN = (errno.EACCES, errno.EAGAIN)
_BYTES = 7
"""Of the address: what an offset in a file can hold."""


class Locks:
    """The claims of one folder. One process has the same claim any number of times."""

    def __init__(self, folder: Callable[[], Path]) -> None:
        self._folder = folder
        self._descriptor: int | None = None
        self._closer: Callable[[], object] = int

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
            descriptor = self._opened()
        except OSError as error:
            raise_interrupt(error)
            return None
        try:
            fcntl.lockf(descriptor, operation, 1, int.from_bytes((location.address or b"")[:_BYTES], "big"))
        except OSError as error:
            raise_interrupt(error)
            return error.errno
        return None

    def _opened(self) -> int:
        """The file; opened anew where it was removed."""
        if self._descriptor is None or not os.fstat(self._descriptor).st_nlink:
            path = self._folder() / FILE
            prepare(path)
            self._closer()
            self._descriptor = os.open(path, os.O_RDWR)
            self._closer = closer = weakref.finalize(self, os.close, self._descriptor)
            closer.atexit = False  # threads that go on would lock another file of the same number
        return self._descriptor
