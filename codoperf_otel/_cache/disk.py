"""The disk tier: one SQLite file in WAL mode, shared by every process that uses its folder.

It never raises for what happens to the medium. A file that is corrupted or has another schema is
built anew; a folder that others own or may write, a full disk or a read-only one turns the tier off
for the rest of the process. Each says so once.
"""

from __future__ import annotations

import logging
import os
import stat
import weakref
from collections.abc import Callable
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar

from codoperf_otel._cache import clocks, codec
from codoperf_otel._cache.scope import Scope
from codoperf_otel._cache.sqlite import ABANDONED, CORRUPT, PASSING, connect, error_code
from codoperf_otel._cache.tiers import EXPIRED, INVALID, Item, OnEvict, Place

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

T = TypeVar("T")

log = logging.getLogger("codoperf_otel.cache")

FILE = "cache.sqlite3"
PURGE_EVERY = 256
AHEAD = 60.0  # seconds by which another process's entry may seem to come from the future

_GET = "SELECT created, expires, boot, ticks, load, codec, value FROM entries WHERE address = ?"
_PUT = "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_REMOVE = "DELETE FROM entries WHERE address = ?"
_REMOVE_SAME = "DELETE FROM entries WHERE address = ? AND created = ?"
_PURGE = "DELETE FROM entries WHERE expires <= ? OR created > ?"


class Disk:
    """The entries of all scopes in one folder."""

    name = "disk"

    def __init__(self, folder: Callable[[], Path], on_evict: OnEvict) -> None:
        self._folder = folder
        self._on_evict = on_evict
        self._wall = clocks.wall
        self._monotonic = clocks.monotonic
        self._boot = clocks.boot()
        self._lock = RLock()
        self._connection: sqlite3.Connection | None = None
        self._closer: weakref.finalize[..., Any] | None = None
        self._inode: int | None = None
        self._off = False
        self._rebuilt = False
        self._puts = 0

    def get(self, place: Place) -> Item | None:
        if place.address is None:
            return None
        row = self._run(lambda db: db.execute(_GET, (place.address,)).fetchone(), None)
        return None if row is None else self._item(place, row)

    def _item(self, place: Place, row: tuple[Any, ...]) -> Item | None:
        created, expires, boot, ticks, load, codec_name, data = row
        try:
            left = expires - created - self._age(created, boot, ticks)
            if left > 0 and codec_name == codec.JSON:
                return Item(codec.decode(data), left, load)
            reason = EXPIRED if left <= 0 else INVALID
        except (TypeError, ValueError, RecursionError):
            reason = INVALID
        if self._run(lambda db: db.execute(_REMOVE_SAME, (place.address, created)).rowcount, 0):
            self._on_evict(place.scope, reason, 1)
        return None

    def _age(self, created: float, boot: str, ticks: float) -> float:
        """Seconds since the entry was made. A clock set back makes none younger than it is known to be."""
        by_wall = self._wall() - created
        if by_wall < 0:
            return float("inf")
        return max(by_wall, self._monotonic() - ticks) if boot == self._boot else by_wall

    def put(self, place: Place, item: Item) -> None:
        if place.address is None:
            return
        data = codec.encode(item.value)
        if data is None:
            self.remove(place)
            return
        now = self._wall()
        row = (
            place.address, place.scope.origin, now, now + item.ttl, self._boot, self._monotonic(),
            item.load, codec.JSON, None, data,
        )  # fmt: skip
        self._run(lambda db: db.execute(_PUT, row), None, create=True)
        self._puts += 1
        if self._puts % PURGE_EVERY == 1:
            self._purge()

    def _purge(self) -> None:
        now = self._wall()
        number = self._run(lambda db: db.execute(_PURGE, (now, now + AHEAD)).rowcount, 0)
        if number > 0:
            self._on_evict(None, EXPIRED, number)

    def remove(self, place: Place) -> None:
        if place.address is not None:
            self._run(lambda db: db.execute(_REMOVE, (place.address,)), None)

    def clear(self, scope: Scope | None = None) -> None:
        if scope is None:
            self._run(lambda db: db.execute("DELETE FROM entries"), None)
        elif scope.origin is not None:
            self._run(lambda db: db.execute("DELETE FROM entries WHERE scope = ?", (scope.origin,)), None)

    def count(self, scope: Scope | None = None) -> int:
        if scope is None:
            return self._run(lambda db: _number(db, "SELECT COUNT(*) FROM entries"), 0)
        query = "SELECT COUNT(*) FROM entries WHERE scope = ?"
        return self._run(lambda db: _number(db, query, scope.origin), 0)

    def forked(self) -> None:
        self._lock = RLock()
        if self._closer is not None:
            self._closer.detach()
            ABANDONED.append(self._connection)
        self._connection = self._closer = None

    def _run(self, work: Callable[[sqlite3.Connection], T], otherwise: T, *, create: bool = False) -> T:
        """What `work` gives; `otherwise` where the medium fails it, or is not there and not to be made."""
        with self._lock:
            for _ in range(2):
                if self._off or not (self._connection or create or _inode_of(self._path())):
                    break
                try:
                    return work(self._connection or self._open())
                except Exception as error:
                    if not self._recovered(error):
                        break
            return otherwise

    def _recovered(self, error: Exception) -> bool:
        """Deal with what went wrong; whether it is worth another try."""
        code = error_code(error)
        if code in PASSING:
            log.debug("cache %s left something out: %s", self._path(), error)
        elif code in CORRUPT and not self._rebuilt:
            self._rebuilt = True
            return self._rebuild(error)
        else:
            self._turn_off(error)
        return False

    def _turn_off(self, error: Exception) -> None:
        self._off = True
        self._close()
        log.warning("cache %s is off, entries stay in memory: %s", self._path(), error)

    def _rebuild(self, error: Exception) -> bool:
        log.warning("cache %s is corrupted and built anew: %s", self._path(), error)
        self._close()
        try:
            if self._inode == _inode_of(self._path()):  # else another process was faster
                for suffix in ("", "-wal", "-shm"):
                    self._path().with_name(FILE + suffix).unlink(missing_ok=True)
        except OSError as failure:
            self._turn_off(failure)
        return not self._off

    def _path(self) -> Path:
        return self._folder() / FILE

    def _open(self) -> sqlite3.Connection:
        path = self._path()
        _prepare(path)
        self._inode = _inode_of(path)
        connection = connect(path)
        self._connection = connection
        self._closer = weakref.finalize(self, connection.close)
        return connection

    def _close(self) -> None:
        if self._closer is not None:
            self._closer()
        self._connection = self._closer = None


def _inode_of(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _number(db: sqlite3.Connection, query: str, *values: object) -> int:
    (number,) = db.execute(query, values).fetchone()
    return int(number)


def _prepare(path: Path) -> None:
    """Make folder and file for this user alone.

    Raises:
        OSError: the folder or the file is, or may become, another user's.
    """
    folder = path.parent
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    if not hasattr(os, "geteuid"):
        return
    _demand_ours(folder, folder.stat(), 0o022)
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:  # not opened here: to close it would drop the locks that SQLite holds
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            raise PermissionError(f"{path} is not a regular file") from None
        _demand_ours(path, found, 0)
        if found.st_mode & 0o077:
            path.chmod(0o600)


def _demand_ours(path: Path, found: os.stat_result, forbidden: int) -> None:
    if found.st_uid != os.geteuid():
        raise PermissionError(f"{path} belongs to another user")
    if found.st_mode & forbidden:
        raise PermissionError(f"{path} may be written by other users")
