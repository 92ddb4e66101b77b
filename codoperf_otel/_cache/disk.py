"""The disk tier: one SQLite file in WAL mode, shared by every process that uses its folder.

It never raises for what happens to the medium. A corrupted file is moved aside, one with other tables
begins anew, one that is removed is made anew. A folder that others own or may write, a full disk or a
read-only one turns the tier off for a minute. Each is logged once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from codoperf_otel._cache.codec import Codecs, Serializer
from codoperf_otel._cache.database import Database
from codoperf_otel._cache.items import Items
from codoperf_otel._cache.locks import Locks
from codoperf_otel._cache.moments import WHATEVER, Moment
from codoperf_otel._cache.namespace import Location, Namespace
from codoperf_otel._cache.sqlite import (
    EVERY,
    LOG_PAGES,
    MOMENT,
    PAGE,
    PUT,
    PUT_SINCE,
    number,
    row_of,
    slot_of,
    used_bytes,
)
from codoperf_otel._cache.tiers import Item, OnEvict
from codoperf_otel._telemetry import names

if TYPE_CHECKING:
    import sqlite3

PURGE_EVERY = 256
FIRST_TO_EXPIRE = 64
LOG_SHARE = 8
"""The part of the bound that the log beside the file may grow to."""
LEAST_LOG_PAGES = 16
LARGEST = 999_000_000
"""The most bytes of a value. SQLite refuses a row of 1,000,000,000, and the older value would stay."""

_GET = "SELECT record FROM entries WHERE row = ?"
_REMOVE = "DELETE FROM entries WHERE row = ?"
_REMOVE_SAME = "DELETE FROM entries WHERE row = ? AND CAST(record AS BLOB) IS CAST(? AS BLOB)"
# the one index begins with the scope, of which there are few: a second one would cost a sixth of each `put`.
# `sqlite3` counts the rows only of what begins with DELETE
_OF_EACH_SCOPE = (
    "DELETE FROM entries WHERE row IN (WITH RECURSIVE scopes (of) AS (SELECT MIN(scope) FROM entries"
    " UNION ALL SELECT (SELECT MIN(scope) FROM entries WHERE scope > of) FROM scopes WHERE of IS NOT NULL)"
    " SELECT row FROM scopes CROSS JOIN entries WHERE scope = of AND expires <= "
)
_FIRST = "(SELECT MAX(expires) FROM (SELECT expires FROM entries WHERE scope = of ORDER BY expires LIMIT ?))"
_PURGE = _OF_EACH_SCOPE + "?)"
_EVICT = _OF_EACH_SCOPE + _FIRST + " ORDER BY expires LIMIT ?)"

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
        self._items = Items(self.name, Codecs(serializer))
        log_pages = max(LEAST_LOG_PAGES, min(LOG_PAGES, limits.size // (LOG_SHARE * PAGE)))
        on_emptied = lambda emptied: on_evict(None, names.INVALID, emptied)  # noqa: E731
        self._database = Database(folder, on_emptied, log_pages)
        self._puts = self._unchecked = 0
        locks = Locks(folder)
        self.claim, self.give_back = locks.claim, locks.give_back

    def get(self, location: Location) -> Item | None:
        address = location.address
        if address is None:
            return None
        row = row_of(address)
        kept: tuple[Any] | None = self._database.run(lambda db: db.execute(_GET, (row,)).fetchone(), None)
        if kept is None:
            return None
        found = self._items.found(
            self._database.signer, address, kept[0], self._items.age.left, location.namespace.grace
        )
        if isinstance(found, Item):
            return found
        self._take_out(location, address, kept[0], found)
        return None

    def _take_out(self, location: Location, address: bytes, packed: Any, why: str) -> None:
        """Take out what cannot be used, unless it was written anew."""
        if self._database.write(lambda db: db.execute(_REMOVE_SAME, (row_of(address), packed)).rowcount, 0):
            self._on_evict(location.namespace, why, 1)

    def put(self, location: Location, item: Item) -> None:
        self._put(location, item, PUT)

    def moment(self, location: Location) -> Moment | None:
        address, scope = location.address, location.namespace.origin
        if address is None or scope is None:
            return None
        of = EVERY, slot_of(scope), row_of(address)
        found = self._database.run(lambda db: db.execute(MOMENT, of).fetchone(), None, create=True)
        return None if found is None else Moment(found[:2], found[2])

    def put_since(self, location: Location, item: Item, since: Moment) -> bool:
        every, one = since.cleared
        row, slot = row_of(location.address or b""), slot_of(location.namespace.origin or "")
        kept = (True, row, None, None) if since.kept is WHATEVER else (False, row, since.kept, since.kept)
        return self._put(location, item, PUT_SINCE, EVERY, every, slot, one, *kept)

    def _put(self, location: Location, item: Item, statement: str, *condition: Any) -> bool:
        """Whether the statement's condition held."""
        address, scope = location.address, location.namespace.origin
        if address is None or scope is None:
            return True
        encoded = self._items.encoded(location.namespace, item.value)
        if encoded is None or len(encoded.data) > min(self._limits.size, LARGEST):
            self.remove(location)
            return True
        size = len(encoded.data)
        record = self._items.record(encoded, item, min(item.ttl, self._limits.age))
        leaves = min(record.expires + location.namespace.grace, record.created + self._limits.age)

        def write(connection: sqlite3.Connection) -> bool:
            packed = self._database.signer.pack(address, record)
            values = row_of(address), scope, leaves, size, packed, *condition
            return connection.execute(statement, values).rowcount > 0

        is_kept = self._database.write(write, True, create=True)
        self._keep_bounds(size)
        return is_kept

    def _keep_bounds(self, written: int) -> None:
        """Now and then, remove what has expired, and what expires next where there is too much."""
        self._puts += 1
        self._unchecked += written
        if self._puts % PURGE_EVERY != 1 and self._unchecked < self._limits.size / 16:
            return
        self._unchecked = 0
        self._evict(names.EXPIRED, _PURGE, self._items.age.wall())
        while self._database.run(used_bytes, 0) > self._limits.size:
            if not self._evict(names.SIZE, _EVICT, FIRST_TO_EXPIRE, FIRST_TO_EXPIRE):
                break

    def _evict(self, reason: str, query: str, *values: float) -> bool:
        evicted = self._database.write(lambda db: db.execute(query, values).rowcount, 0)
        if evicted > 0:
            self._on_evict(None, reason, evicted)
        return evicted > 0

    def remove(self, location: Location) -> None:
        address = location.address
        if address is not None:
            self._database.write(lambda db: db.execute(_REMOVE, (row_of(address),)), None)

    def clear(self, namespace: Namespace | None = None) -> None:
        if namespace is None:
            self._database.erase(None)
        elif namespace.origin is not None:
            self._database.erase(namespace.origin)

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
