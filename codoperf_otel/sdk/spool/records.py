"""One request on disk: its length, how many items it has, a checksum, and the OTLP protobuf bytes."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple
from zlib import crc32

_HEAD = Struct(">4sIII")
_COUNTS = Struct(">II")
_MARK = b"\xc0dPs"
_MOST_CHECKS = 4
"""How often a byte is checked, on average, where marks stand within what others begin."""


class Record(NamedTuple):
    """A request as it was read; `end` is where the next one begins."""

    payload: bytes
    items: int
    end: int


def encoded(payload: bytes, items: int) -> bytes:
    """A record as it is written.

    >>> [(record.payload, record.items) for record in read(encoded(b"spans", 2) + b"torn", 0)]
    [(b'spans', 2)]
    """
    return _HEAD.pack(_MARK, len(payload), items, _checksum(payload, items)) + payload


def _checksum(payload: bytes, items: int) -> int:
    return crc32(payload, crc32(_COUNTS.pack(len(payload), items)))


def read(data: bytes, start: int) -> Iterator[Record]:
    """The whole records of a file's bytes from `start` on. What is damaged is passed over."""
    checks = _Checks(data)
    at = data.find(_MARK, start)
    while at >= 0 and checks.left >= 0:
        record = checks.record(at)
        if record is not None:
            yield record
        at = data.find(_MARK, at + 1 if record is None else record.end)


class _Checks:
    """Reads records of `data`. A file of beginnings alone would take for ever: `left` ends that."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.left = _MOST_CHECKS * len(data)

    def record(self, at: int) -> Record | None:
        """The record at a mark, if it is whole."""
        body = at + _HEAD.size
        if body > len(self._data):
            return None
        _, length, items, checksum = _HEAD.unpack_from(self._data, at)
        end = body + length
        if end > len(self._data):
            return None
        payload = self._data[body:end]
        if checksum == _checksum(payload, items):
            return Record(payload, items, end)
        self.left -= length
        return None
