"""The disk tier: one SQLite file in WAL mode, shared by every process that uses its folder.

It never raises for what happens to the medium. A corrupted file is moved aside, one with other tables
begins anew, one that is removed is made anew. A folder that others own or may write, a full disk or a
read-only one turns the tier off for a minute. Each is logged once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from codoperf_otel._cache.codec import Codecs, Serializer
from codoperf_otel._cache.database import Database
from codoperf_otel._cache.items import Items
from codoperf_otel._cache.locks import Locks
from codoperf_otel._cache.namespace import Location, Namespace
from codoperf_otel._cache.sqlite import number, used_bytes
from codoperf_otel._cache.tiers import Item, OnEvict
from codoperf_otel._telemetry import names

PURGE_EVERY = 256
FIRST_TO_EXPIRE = 64
LARGEST = 999_000_000
"""The most bytes of a value. SQLite refuses a row of 1,000,000,000, and the older value would stay."""

_GET = "SELECT CAST(IFNULL(record, '') AS BLOB) FROM entries WHERE address = ?"
_PUT = (
    "INSERT INTO entries VALUES (?, ?, ?, ?, ?) ON CONFLICT (address) DO UPDATE SET scope = excluded.scope,"
    " expires = excluded.expires, size = excluded.size, record = excluded.record"
)
_REMOVE = "DELETE FROM entries WHERE address = ?"
_REMOVE_SAME = "DELETE FROM entries WHERE address = ? AND CAST(IFNULL(record, '') AS BLOB) = ?"
_PURGE = "DELETE FROM entries WHERE expires <= ?"
_EVICT = "DELETE FROM entries WHERE rowid IN (SELECT rowid FROM entries ORDER BY expires LIMIT ?)"

_COUNT = "SELECT COUNT(*) FROM entries"
_SIZE = "SELECT SUM(size) FROM entries"
_OF_ONE = " WHERE scope = ?"


class Limits(NamedTuple):
    """The most that a folder may hold: bytes in all, and the seconds that any entry stays."""

    size: int
    age: float


class Disk:
    """The entries of all namespaces in one folder."""

    name = names.DISK
    counts_at_once = True

    def __init__(
        self,
        folder: Callable[[], Path],
        on_evict: OnEvict,
        limits: Limits,
        serializer: Serializer | None = None,
    ) -> None:
        self._on_evict = on_evict
        self._limits = limits
        self._items = Items(Codecs(serializer))
        self._database = Database(folder, lambda emptied: on_evict(None, names.INVALID, emptied))
        self._puts = self._unchecked = 0
        locks = Locks(folder)
        self.claim, self.give_back = locks.claim, locks.give_back

    def get(self, location: Location) -> Item | None:
        address = location.address
        if address is None:
            return None
        row: tuple[bytes] | None = self._database.run(
            lambda db: db.execute(_GET, (address,)).fetchone(), None
        )
        return None if row is None else self._item(location, address, *row)

    def _item(self, location: Location, address: str, packed: bytes) -> Item | None:
        left, grace = self._items.age.left, location.namespace.grace
        found = self._items.found(self._database.signer, address, packed, left, grace)
        if isinstance(found, Item):
            return found
        if self._database.run(lambda db: db.execute(_REMOVE_SAME, (address, packed)).rowcount, 0):
            self._on_evict(location.namespace, found, 1)
        return None

    def put(self, location: Location, item: Item) -> None:
        address, scope = location.address, location.namespace.origin
        if address is None or scope is None:
            return
        encoded = self._items.encoded(location.namespace, item.value)
        if encoded is None or len(encoded.data) > min(self._limits.size, LARGEST):
            self.remove(location)
            return
        size = len(encoded.data)
        record = self._items.record(encoded, item, min(item.ttl, self._limits.age))
        leaves = min(record.expires + location.namespace.grace, record.created + self._limits.age)
        self._database.run(
            lambda db: db.execute(
                _PUT, (address, scope, leaves, size, self._database.signer.pack(address, record))
            ),
            None,
            create=True,
        )
        self._keep_bounds(size)

    def _keep_bounds(self, written: int) -> None:
        """Now and then, remove what has expired, and what expires next where there is too much."""
        self._puts += 1
        self._unchecked += written
        if self._puts % PURGE_EVERY != 1 and self._unchecked < self._limits.size / 16:
            return
        self._unchecked = 0
        self._evict(names.EXPIRED, _PURGE, self._items.age.wall())
        while self._database.run(used_bytes, 0) > self._limits.size:
            if not self._evict(names.SIZE, _EVICT, FIRST_TO_EXPIRE):
                break

    def _evict(self, reason: str, query: str, *values: float) -> bool:
        evicted = self._database.run(lambda db: db.execute(query, values).rowcount, 0)
        if evicted > 0:
            self._on_evict(None, reason, evicted)
        return evicted > 0

    def remove(self, location: Location) -> None:
        if location.address is not None:
            self._database.run(lambda db: db.execute(_REMOVE, (location.address,)), None)

    def clear(self, namespace: Namespace | None = None) -> None:
        if namespace is None:
            self._database.run(lambda db: db.execute("DELETE FROM entries"), None)
        elif namespace.origin is not None:
            query = "DELETE FROM entries WHERE scope = ?"
            self._database.run(lambda db: db.execute(query, (namespace.origin,)), None)

    def count(self, namespace: Namespace | None = None) -> int:
        return self._number(_COUNT, namespace)

    def size(self, namespace: Namespace | None = None) -> int:
        return self._number(_SIZE, namespace)

    def _number(self, query: str, namespace: Namespace | None) -> int:
        if namespace is None:
            return self._database.run(lambda db: number(db, query), 0)
        return self._database.run(lambda db: number(db, query + _OF_ONE, namespace.origin), 0)

    def forked(self) -> None:
        self._database.forked()
