"""Items as signed records and back, for the tiers outside this process."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from codoperf_otel._cache.codec import Codecs, Encoded
from codoperf_otel._cache.namespace import Namespace
from codoperf_otel._cache.records import Age, InvalidRecordError, Record, Signer
from codoperf_otel._cache.tiers import Item
from codoperf_otel._once import Once
from codoperf_otel._telemetry import names
from codoperf_otel._telemetry.interrupts import raise_interrupt

log = logging.getLogger("codoperf_otel.cache")


class Items:
    """Writes and reads the items of the tier of that name."""

    def __init__(self, tier: str, codecs: Codecs) -> None:
        self._tier = tier
        self.age = Age()
        self._codecs = codecs
        self._is_first_unwritten = Once()

    def encoded(self, namespace: Namespace, value: Any) -> Encoded | None:
        """A value's bytes. None, with one warning, for one that cannot be written."""
        try:
            return self._codecs.encode(value)
        except Exception as error:
            raise_interrupt(error)
            namespace.is_shared = False
            if self._is_first_unwritten():
                log.warning(
                    "cache %s: a value of type %s stays in memory only: %s",
                    namespace.name, type(value).__qualname__, error,
                )  # fmt: skip
            return None

    def record(self, encoded: Encoded, item: Item, ttl: float) -> Record:
        """The record of an item that is written now."""
        now = self.age.wall()
        return Record(now, now + ttl, self.age.monotonic(), item.load, self.age.boot, *encoded, item.origin)

    def found(
        self, signer: Signer, address: bytes, packed: bytes, left_of: Callable[[Record], float], grace: float
    ) -> Item | str:
        """The item that is packed at an address; else why it has to go. `grace` is its namespace's."""
        try:
            record = signer.unpack(address, packed)
            left = left_of(record)
            if left <= -grace:
                return names.EXPIRED
            value = self._codecs.decode(record.codec, record.data)
            return Item(value, left, record.load, record.origin, self._tier)
        except (InvalidRecordError, ValueError, RecursionError) as error:
            raise_interrupt(error)
            return names.INVALID
