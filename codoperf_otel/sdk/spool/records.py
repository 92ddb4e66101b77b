"""One request on disk: its length, how many items it has, a checksum, and the OTLP protobuf bytes."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple
from zlib import crc32

_HEAD = Struct(">4sIII")
_COUNTS = Struct(">II")
_MARK = b"\xc0dPs"


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
    at = data.find(_MARK, start)
    while at >= 0:
        record = _record(data, at)
        if record is not None:
            yield record
        at = data.find(_MARK, at + 1 if record is None else record.end)


def _record(data: bytes, at: int) -> Record | None:
    body = at + _HEAD.size
    if body > len(data):
        return None
    _, length, items, checksum = _HEAD.unpack_from(data, at)
    payload = data[body : body + length]
    is_whole = len(payload) == length and checksum == _checksum(payload, items)
    return Record(payload, items, body + length) if is_whole else None
