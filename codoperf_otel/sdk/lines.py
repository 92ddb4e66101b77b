"""Files in the OTLP file format, one JSON object per line, that processes share."""

from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path
from threading import Lock

from codoperf_otel.sdk.otlp_json.common import Json

# not through a symbolic link, not waiting for the reader of a FIFO; on Windows, lines end as they are written
_FLAGS = sum(getattr(os, name, 0) for name in ("O_BINARY", "O_NOFOLLOW", "O_NONBLOCK"))

_STILL = 0.05  # seconds without another byte: no process is in the midst of the line

_encoder = json.JSONEncoder(separators=(",", ":"))


class Lines:
    """A file that processes share: each line is appended by one write.

    What a killed writer or a full disk has left of a line stays a line of its own.

    Raises:
        OSError: the file cannot be opened, or the disk has no room for the line.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = _opened(path)
        self._lock = Lock()
        self._is_torn = self._ends_torn()

    def append(self, document: Json) -> None:
        line = _encoder.encode(document).encode() + b"\n"
        with self._lock:
            if self._is_torn:
                line = b"\n" + line
            written = os.write(self._descriptor, line)
            self._is_torn = written < len(line) and (self._is_torn or written > 0)
            if written < len(line):
                raise OSError("no room left for a whole line")

    def _ends_torn(self) -> bool:
        """Whether the last line has no end, and nobody is writing it."""
        size, seen = os.fstat(self._descriptor).st_size, -1
        while size and not self._is_end_of_line(size):
            if size == seen:
                return True
            time.sleep(_STILL)
            size, seen = os.fstat(self._descriptor).st_size, size
        return False

    def _is_end_of_line(self, size: int) -> bool:
        os.lseek(self._descriptor, size - 1, os.SEEK_SET)
        return os.read(self._descriptor, 1) == b"\n"

    def close(self) -> None:
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1  # the number may be another file's by now


def _opened(path: Path) -> int:
    """A descriptor of a file that is this user's alone, in a folder that is no other user's."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.is_symlink():
        raise PermissionError(f"{path} is a symbolic link")
    if hasattr(os, "geteuid") and path.parent.stat().st_uid not in (os.geteuid(), 0):
        raise PermissionError(f"{path.parent} belongs to another user")
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | _FLAGS, 0o600)
    try:
        _take(path, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _take(path: Path, descriptor: int) -> None:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise PermissionError(f"{path} is not a regular file")
    if hasattr(os, "geteuid"):
        if found.st_uid != os.geteuid():
            raise PermissionError(f"{path} belongs to another user")
        if found.st_mode & 0o077:
            os.fchmod(descriptor, 0o600)
