"""A file of the spool. Who has it open has its lock, which the system gives back when a process dies."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from struct import Struct
from typing import Any, NamedTuple, cast

from codoperf_otel.sdk.outputs import Signal
from codoperf_otel.sdk.private_files import OpenFile
from codoperf_otel.sdk.spool import records
from codoperf_otel.sdk.spool.records import Record

fcntl: Any
try:
    import fcntl
except ImportError:
    fcntl = None

LARGEST = 1 << 30
"""Bytes: nothing of this package's is as large."""

_HEAD = Struct(">8sQ")
_MARK = b"codoperf"
_NAME = re.compile(r"(traces|metrics|logs)-(\d{20})-\d+-\d+\.spool")
_numbers = count(1)
_synchronize = getattr(os, "fdatasync", os.fsync)


class Name(NamedTuple):
    """What the name of a file says."""

    signal: Signal
    began_ns: int


def parsed(path: Path) -> Name | None:
    """The parts of a segment's name; None where it is none of one."""
    found = _NAME.fullmatch(path.name)
    return Name(cast("Signal", found[1]), int(found[2])) if found else None


class Segment:
    """An open file of records, of which those up to `sent` have been delivered.

    Raises:
        OSError: it cannot be opened, or another process or part of this one has it.
    """

    def __init__(self, path: Path, file: OpenFile) -> None:
        self.path = path
        self._file = file
        descriptor = file.descriptor
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.end = os.fstat(descriptor).st_size
            head = os.pread(descriptor, _HEAD.size, 0)
        except BaseException:
            file.close()
            raise
        is_valid = len(head) == _HEAD.size and head.startswith(_MARK)
        self.sent = min(max(_HEAD.unpack(head)[1], _HEAD.size), self.end) if is_valid else _HEAD.size
        self.end = max(self.end, _HEAD.size)

    @property
    def _descriptor(self) -> int:
        if self._file.status is None:
            raise OSError("the file is closed")
        return self._file.descriptor

    @classmethod
    def new(cls, folder: Path, signal: Signal) -> Segment:
        """A segment that is not there yet."""
        name = f"{signal}-{time.time_ns():020d}-{os.getpid()}-{next(_numbers)}.spool"
        segment = cls(folder / name, OpenFile(folder / name, os.O_RDWR | os.O_CREAT | os.O_EXCL))
        segment._note_sent()
        return segment

    @classmethod
    def existing(cls, path: Path) -> Segment:
        """One that nobody has open."""
        return cls(path, OpenFile(path, os.O_RDWR))

    def write(self, data: bytes) -> None:
        """Put records at the end, on the disk itself. What the disk takes in part is written over later.

        Raises:
            OSError: the disk has no room for all of it, or fails.
        """
        if os.pwrite(self._descriptor, data, self.end) < len(data):
            raise OSError("no room left for a whole record")
        _synchronize(self._descriptor)
        self.end += len(data)

    @property
    def is_there(self) -> bool:
        """False once somebody has removed the file, or another process has taken over."""
        status = self._file.status
        return status is not None and status.st_nlink > 0

    @property
    def is_sent(self) -> bool:
        """Whether all that was written has been delivered."""
        return self.sent >= self.end

    def unsent(self) -> Iterator[Record]:
        """The records that have not been delivered yet."""
        start, end = self.sent, self.end
        data = os.pread(self._descriptor, min(end - start, LARGEST), start)
        for record in records.read(data, 0):
            yield record._replace(end=start + record.end)

    def note_sent(self, end: int) -> None:
        """What lies before `end` has been delivered; whoever opens the file later knows it."""
        self.sent = end
        self._note_sent()

    def _note_sent(self) -> None:
        os.pwrite(self._descriptor, _HEAD.pack(_MARK, self.sent), 0)

    def begin_anew(self) -> None:
        """Forget what was delivered."""
        os.ftruncate(self._descriptor, _HEAD.size)
        self.end = _HEAD.size
        self.note_sent(_HEAD.size)

    def remove(self) -> None:
        """Delete the file, and close it."""
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Let others have it."""
        self._file.close()
