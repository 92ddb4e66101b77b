"""SQLite as the disk tier needs it: the schema, how a file is opened, what its errors mean."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

SCHEMA_VERSION = 1
BUSY_SECONDS = 2.0

# primary result codes of SQLite, https://sqlite.org/rescode.html
PASSING = frozenset({5, 6, 18})  # another process is writing; this one value is too big
CORRUPT = frozenset({1, 11, 26})  # 1: a table or a column is not what it should be

ABANDONED: list[Any] = []
"""Connections of the parent, kept in a forked child: closing one could harm the parent's file."""

_SCHEMA = (
    "DROP TABLE IF EXISTS entries",
    "CREATE TABLE entries (address TEXT PRIMARY KEY, scope TEXT NOT NULL,"
    " created REAL NOT NULL, expires REAL NOT NULL, boot TEXT NOT NULL, ticks REAL NOT NULL,"
    " load REAL, codec TEXT NOT NULL, mac BLOB, value BLOB NOT NULL)",
    "CREATE INDEX scopes ON entries (scope)",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)


def connect(path: Path) -> sqlite3.Connection:
    """A connection to a file that has our schema; one of another version is emptied."""
    import sqlite3

    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        _to_wal(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        if _version(connection) != SCHEMA_VERSION:
            _make_schema(connection)
    except BaseException:
        connection.close()
        raise
    return connection


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


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _make_schema(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _version(connection) != SCHEMA_VERSION:  # else another process was faster
            for statement in _SCHEMA:
                connection.execute(statement)
    finally:
        connection.execute("COMMIT")


def error_code(error: Exception) -> int | None:
    """SQLite's primary result code; None for an error that is not SQLite's."""
    if type(error).__module__ != "sqlite3":
        return None
    # without a code the module itself could not read a row
    return int(getattr(error, "sqlite_errorcode", 1)) & 0xFF
