"""SQLite as the disk tier needs it: the schema, how a file is opened, what its errors mean."""

from __future__ import annotations

import struct
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any
from zlib import crc32

from codoperf_otel._cache.folder import prepare

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path
else:
    with suppress(ImportError):  # a Python that was built without it keeps entries in memory
        import sqlite3

SCHEMA_VERSION = 4
BUSY_SECONDS = 2.0

# primary result codes of SQLite, https://sqlite.org/rescode.html
LOCKED = frozenset({5, 6})  # another process is writing
PASSING = LOCKED | {4, 9, 18}  # the same, or somebody interrupts, or this one value is too big
OTHER_SCHEMA = frozenset({1})  # a table or a column is not what it should be
CORRUPT = frozenset({11, 26})

ABANDONED: list[Any] = []
"""Connections of the parent, kept in a forked child: closing one could harm the parent's file."""

# the file is not mapped: a read beyond the end of one that somebody has cut would kill the process. The index
# of its log (``-shm``) always is: the only mode without a shared one is for a single process
_SETTINGS = ("synchronous = NORMAL", "mmap_size = 0", "cache_size = 8192", "journal_size_limit = 0")

LOG_PAGES = 4000
"""The log is merged into the file each 16 MB: at each 4 MB, a set among many entries would cost half as much
again."""

PAGE = 4096

PUT = "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?)"
MOST_IN_MEMORY = 64 << 20
"""Bytes of values that are held while a file is made anew."""

_SLOTS = 64
_KEPT = "(SELECT SUBSTR(record, 1, 32) FROM entries WHERE row = ?)"
_CLEARED = "(SELECT mark FROM clears WHERE slot = ?)"
MOMENT = f"SELECT {_CLEARED}, {_CLEARED}, {_KEPT}"
PUT_SINCE = (
    "INSERT OR REPLACE INTO entries SELECT ?, ?, ?, ?, ?"
    f" WHERE {_CLEARED} IS ? AND {_CLEARED} IS ? AND (? OR COALESCE({_KEPT}, ?) IS ?)"
)
_MARK = "INSERT OR REPLACE INTO clears VALUES (?, RANDOM())"
EVERY = -1
"""The slot of those clears that concern all scopes."""

_FOREIGN = (
    "SELECT COUNT(*) FROM sqlite_master WHERE type NOT IN ('table', 'index') OR sql LIKE 'CREATE VIRTUAL%'"
)

_ROW = struct.Struct("<q")
_SCHEMA = (
    "DROP TABLE IF EXISTS entries",
    "CREATE TABLE entries (row INTEGER PRIMARY KEY, scope TEXT NOT NULL, expires REAL NOT NULL,"
    " size INTEGER NOT NULL, record BLOB NOT NULL)",
    "CREATE INDEX expiries ON entries (scope, expires, size)",
    "DROP TABLE IF EXISTS clears",
    "CREATE TABLE clears (slot INTEGER PRIMARY KEY, mark INTEGER NOT NULL)",
    "INSERT INTO clears VALUES (-1, RANDOM())",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)


def connect(path: Path, log_pages: int = LOG_PAGES) -> tuple[sqlite3.Connection, int]:
    """A connection to a file that has our schema, and how many entries of another version it emptied.

    The log beside the file is merged into it when it has that many pages.

    Raises:
        ImportError: this Python has no SQLite.
    """
    import sqlite3  # it is loaded, where this Python has it

    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.text_factory = bytes  # somebody may have put text there that is none
    try:
        _to_wal(connection)
        for setting in (*_SETTINGS, f"wal_autocheckpoint = {log_pages}"):
            connection.execute(f"PRAGMA {setting}")
        demand_plain(connection)
        emptied = 0 if _version(connection) == SCHEMA_VERSION else make_schema(connection)
    except BaseException:
        connection.close()
        raise
    return connection, emptied


def _to_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL mode; SQLite's own time-out does not cover this step."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except Exception as error:
            if error_code(error) not in PASSING or time.monotonic() > deadline:
                raise
            time.sleep(0.005)


def demand_plain(connection: sqlite3.Connection) -> None:
    """Refuse views and triggers, which nobody here has made: to read the one may take for ever.

    Raises:
        sqlite3.DatabaseError: there are some; its code says that the file is corrupted.
    """
    if number(connection, _FOREIGN):
        import sqlite3

        error = sqlite3.DatabaseError("there are views or triggers in it")
        error.sqlite_errorcode = min(CORRUPT)
        raise error


def _version(connection: sqlite3.Connection) -> int:
    return number(connection, "PRAGMA user_version")


def make_schema(connection: sqlite3.Connection, *, anew: bool = False) -> int:
    """Make our tables in place of those of another version; returns how many entries those held.

    With `anew`, tables that say they are of this version are replaced too.
    """
    emptied = 0
    connection.execute("BEGIN IMMEDIATE")
    try:
        if anew or _version(connection) != SCHEMA_VERSION:  # else another process was faster
            emptied = _count(connection)
            for statement in _SCHEMA:
                connection.execute(statement)
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    return emptied


def _count(connection: sqlite3.Connection) -> int:
    if not number(connection, "SELECT COUNT(*) FROM sqlite_master WHERE name = 'entries'"):
        return 0
    return number(connection, "SELECT COUNT(*) FROM entries")


def row_of(address: bytes) -> int:
    """The row of an address. A number is found faster than a text. The record holds the whole address."""
    (row,) = _ROW.unpack_from(address)
    return int(row)


def slot_of(scope: str) -> int:
    """Where clears of a scope leave their mark. Few scopes share a slot, and none takes room for ever."""
    return crc32(scope.encode(errors="replace")) % _SLOTS


def delete(connection: sqlite3.Connection, scope: str | None) -> int:
    """Delete the entries of a scope, or all; returns how many there were.

    The mark comes first: what was being computed before is not kept afterwards.
    """
    if scope is None:
        connection.execute(_MARK, (EVERY,))
        return connection.execute("DELETE FROM entries").rowcount
    connection.execute(_MARK, (slot_of(scope),))
    return connection.execute("DELETE FROM entries WHERE scope = ?", (scope,)).rowcount


def empty_log(connection: sqlite3.Connection) -> None:
    """Merge the log into the file and give its room back, unless somebody is reading or writing."""
    try:
        connection.execute("PRAGMA busy_timeout = 0")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000:.0f}")


def read_others(path: Path, scope: str) -> tuple[Any, ...]:
    """The rows of all other scopes, those that expire last first; none where they are too large together."""
    with closing(connect(path)[0]) as connection:
        if number(connection, "SELECT SUM(size) FROM entries WHERE scope IS NOT ?", scope) > MOST_IN_MEMORY:
            return ()
        of_others = "SELECT * FROM entries WHERE scope IS NOT ? ORDER BY expires DESC"
        return tuple(connection.execute(of_others, (scope,)))


def write_others(path: Path, rows: tuple[Any, ...]) -> None:
    """Put rows into a new file, one after the other, for as long as there is room."""
    prepare(path)
    with closing(connect(path)[0]) as connection:
        connection.executemany(PUT, rows)


def used_bytes(connection: sqlite3.Connection) -> int:
    """The part of the file that holds entries."""
    pages = number(connection, "PRAGMA page_count") - number(connection, "PRAGMA freelist_count")
    return pages * number(connection, "PRAGMA page_size")


def number(connection: sqlite3.Connection, query: str, *values: object) -> int:
    """The one number that a query returns; 0 for NULL."""
    (found,) = connection.execute(query, values).fetchone()
    return int(found or 0)


def is_closed(error: Exception) -> bool:
    """Whether a connection was used that is closed, as at the program's end."""
    return type(error).__module__ == "sqlite3" and type(error).__name__ == "ProgrammingError"


def error_code(error: Exception) -> int | None:
    """SQLite's primary result code; None for an error that tells nothing of the file."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else int(code) & 0xFF
