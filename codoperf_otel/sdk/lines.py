"""Files in the OTLP file format, one JSON object per line, that processes share."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from threading import Lock

from codoperf_otel.sdk.otlp_json.common import Json
from codoperf_otel.sdk.private_files import OpenFile

_STILL = 0.05  # seconds without another byte: no process is in the midst of the line

_encoder = json.JSONEncoder(separators=(",", ":"))


class Lines:
    """A file that processes share: each line is appended by one write.

    What a killed writer or a full disk has left of a line stays a line of its own. A file that was removed or
    moved away, perhaps with its folder, is made anew. A forked child opens its own.

    Raises:
        OSError: the file cannot be opened, or the disk has no room for the line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._is_closed = False
        self._open()

    def _open(self) -> None:
        self._file = OpenFile(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        self._is_torn = self._ends_torn()

    def append(self, document: Json) -> None:
        line = _encoder.encode(document).encode() + b"\n"
        with self._lock:
            if self._is_closed:
                raise OSError("the file is closed")
            if self._is_gone():
                self._file.close()
                self._open()
            if self._is_torn:
                line = b"\n" + line
            written = os.write(self._file.descriptor, line)
            self._is_torn = written < len(line) and (self._is_torn or written > 0)
            if written < len(line):
                raise OSError("no room left for a whole line")

    def _is_gone(self) -> bool:
        status = self._file.status
        try:
            return status is None or not os.path.samestat(status, self._path.lstat())
        except FileNotFoundError:
            return True

    def _ends_torn(self) -> bool:
        """Whether the last line has no end, and nobody is writing it."""
        size, seen = self._size(), -1
        while size and not self._is_end_of_line(size):
            if size == seen:
                return True
            time.sleep(_STILL)
            size, seen = self._size(), size
        return False

    def _size(self) -> int:
        return os.fstat(self._file.descriptor).st_size

    def _is_end_of_line(self, size: int) -> bool:
        os.lseek(self._file.descriptor, size - 1, os.SEEK_SET)
        return os.read(self._file.descriptor, 1) == b"\n"

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            self._file.close()
