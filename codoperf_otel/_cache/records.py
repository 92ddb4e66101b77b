"""What the disk tier writes of an item: one signed record, so that what was changed outside is no item."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable
from hmac import compare_digest
from typing import NamedTuple

from codoperf_otel._cache import clocks

_SIGNED = 32  # bytes of the signature
_HEADER = struct.Struct("<32sdddd16sB")
_NAME = _SIGNED + _HEADER.size
_BLOCK = 64
_PADS = (0x36, 0x5C)  # RFC 2104


class Record(NamedTuple):
    """A value with its times, in seconds: by the wall clock, `ticks` by the monotonic one.

    `data` are the value's bytes, as that codec wrote them. `origin` stands behind the codec's name, where
    there is one.
    """

    created: float
    expires: float
    ticks: float
    load: float | None
    boot: bytes
    codec: str
    data: bytes
    origin: bytes = b""


class InvalidRecordError(Exception):
    """Bytes that this program, with this folder's key, has not written at this address."""


class Signer:
    """Packs records and unpacks them, with the key of one folder."""

    def __init__(self, key: bytes) -> None:
        block = (hashlib.sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
        self._inner, self._outer = (hashlib.sha256(bytes(byte ^ pad for byte in block)) for pad in _PADS)

    def pack(self, address: bytes, record: Record) -> bytes:
        """The signature, the address of 32 bytes, the times, the codec's name and the value's bytes."""
        created, expires, ticks, load, boot, codec, data, origin = record
        name = codec.encode() + (origin and b"\0" + origin)
        took = math.nan if load is None else load
        header = _HEADER.pack(address, created, expires, ticks, took, boot, len(name)) + name
        return b"".join((self._signature(header, data), header, data))

    def unpack(self, address: bytes, packed: bytes) -> Record:
        """The record again.

        Raises:
            InvalidRecordError: the bytes were changed, stood elsewhere, or were signed with another key.
        """
        if type(packed) is not bytes:
            raise InvalidRecordError
        if not compare_digest(packed[:_SIGNED], self._signature(memoryview(packed)[_SIGNED:])):
            raise InvalidRecordError
        where, created, expires, ticks, load, boot, length = _HEADER.unpack_from(packed, _SIGNED)
        if where != address:
            raise InvalidRecordError
        start = _NAME + length
        codec, _, origin = packed[_NAME:start].partition(b"\0")
        took = None if load != load else load
        return Record(created, expires, ticks, took, boot, codec.decode(), packed[start:], origin)

    def _signature(self, first: bytes | memoryview, rest: bytes = b"") -> bytes:
        """HMAC-SHA256. For a small value `hmac.digest` takes twice as long, to look the hash up."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(first)
        inner.update(rest)
        outer.update(inner.digest())
        return outer.digest()


def claimed_address(packed: bytes) -> bytes:
    """The address that packed bytes say is theirs, whoever wrote them."""
    return packed[_SIGNED : 2 * _SIGNED]


class Age:
    """How old a record is by the clocks. A clock set back makes none younger than it is known to be."""

    def __init__(self) -> None:
        self.wall: Callable[[], float] = clocks.wall
        self.monotonic: Callable[[], float] = clocks.monotonic
        self.boot = hashlib.sha256(clocks.boot().encode()).digest()[:16]

    def left(self, record: Record) -> float:
        """The seconds until a record expires; 0 or less once it has."""
        by_wall = self.wall() - record.created
        if by_wall < 0:
            return -math.inf
        age = max(by_wall, self.monotonic() - record.ticks) if record.boot == self.boot else by_wall
        return record.expires - record.created - age

    def left_on_server(self, record: Record) -> float:
        """The same where another machine, whose clock may be ahead, can have written the record.

        What is too old by the server's own clock is not there any more.
        """
        if record.boot == self.boot:
            return self.left(record)
        return record.expires - max(self.wall(), record.created)
