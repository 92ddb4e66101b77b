"""A disk cache from outside: what a folder holds, and setting it in order. No value is ever read."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from codoperf_otel._cache.database import FILE
from codoperf_otel._cache.folder import KEY_FILE, prepare, signing_key
from codoperf_otel._cache.namespace import MANAGERS_OWN
from codoperf_otel._cache.records import InvalidRecordError, Signer, claimed_address
from codoperf_otel._cache.sqlite import BUSY_SECONDS, SCHEMA_VERSION, delete, demand_plain, number, row_of

_NAMES = (
    "SELECT scope, COUNT(*), CAST(TOTAL(size) AS INTEGER), CAST(TOTAL(expires <= ?) AS INTEGER),"
    " MIN(CASE WHEN expires > ? AND expires < 9e99 THEN CAST(expires AS REAL) END)"
    " FROM entries GROUP BY scope"
)
_RECORDS = "SELECT row, CAST(IFNULL(record, '') AS BLOB) FROM entries"


class NoCacheError(Exception):
    """The folder holds no cache of this user's that this version can read."""


class Kept(NamedTuple):
    """What one cache has in a folder. A cache may have several scopes, one per version of its function."""

    name: str
    scopes: int
    entries: int
    bytes: int
    expired: int
    next_expiry_seconds: float | None


@contextmanager
def opened(folder: Path) -> Iterator[sqlite3.Connection]:
    """The database of a folder.

    Raises:
        NoCacheError: there is none, it is another user's, or of another version.
    """
    path = folder / FILE
    if not path.exists():
        reason = "" if folder.exists() else ", as there is no such folder"
        raise NoCacheError(f"{folder}: no cache in it{reason}")
    try:
        prepare(path)
        with closing(sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)) as database:
            database.text_factory = _text
            demand_plain(database)
            version = number(database, "PRAGMA user_version")
            if version != SCHEMA_VERSION:
                raise NoCacheError(f"{path}: its entries are of version {version}, not of {SCHEMA_VERSION}")
            yield database
    except (OSError, sqlite3.Error) as error:
        raise NoCacheError(f"{path}: {error}") from error
    except UnicodeDecodeError as error:  # in a message of SQLite's, which quotes the damaged file
        raise NoCacheError(f"{path}: it is damaged") from error


def _text(stored: bytes) -> str:
    """Any text that somebody has put there can be shown."""
    return stored.decode(errors="replace")


def kept(folder: Path) -> list[Kept]:
    """The caches of a folder, the largest first."""
    now = time.time()
    found: dict[str, Kept] = {}
    with opened(folder) as database:
        for scope, entries, size, expired, first in database.execute(_NAMES, (now, now)):
            name = _name_of(scope)
            before = found.get(name, Kept(name, 0, 0, 0, 0, None))
            left = [each for each in (before.next_expiry_seconds, first and first - now) if each is not None]
            found[name] = Kept(
                name,
                before.scopes + 1,
                before.entries + entries,
                before.bytes + size,
                before.expired + expired,
                min(left, default=None),
            )
    return sorted(found.values(), key=lambda each: -each.bytes)


def _name_of(scope: object) -> str:
    """The cache that a scope belongs to: a function's, whose digest comes last, or a manager's own."""
    head, _, tail = str(scope).rpartition(" ")
    return tail if head == MANAGERS_OWN else head or tail


def file_bytes(folder: Path) -> int:
    """What the files of a folder's cache take on disk."""
    return sum(path.stat().st_size for path in folder.glob(f"{FILE}*"))


def clear(folder: Path, name: str | None = None) -> int:
    """Remove all entries, or those of one cache; returns how many there were.

    Raises:
        NoCacheError: nothing can be removed, or there is no cache of that name.
    """
    with opened(folder) as database:
        if name is None:
            return delete(database, None)
        scopes = [scope for (scope,) in database.execute("SELECT DISTINCT scope FROM entries")]
        names = [_name_of(scope) for scope in scopes]
        if name not in names:
            raise NoCacheError(f"{folder}: no cache {name!r} has entries in it{_question(name, names)}")
        return sum(delete(database, scope) for scope, of in zip(scopes, names, strict=True) if of == name)


def _question(name: str, names: list[str]) -> str:
    nearest = get_close_matches(name, names, n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


def verify(folder: Path) -> tuple[int, int]:
    """How many entries there are, and how many of them were changed, cut short or signed with another key."""
    invalid = entries = 0
    with opened(folder) as database:
        if not (folder / KEY_FILE).exists():
            raise NoCacheError(f"{folder / KEY_FILE}: the key of the signatures is not there")
        signer = Signer(signing_key(folder))
        for row, record in database.execute(_RECORDS):
            entries += 1
            invalid += not _is_valid(signer, row, record)
        (state,) = database.execute("PRAGMA integrity_check(1)").fetchone()
    if state != "ok":
        raise NoCacheError(f"{folder / FILE}: {state}")
    return entries, invalid


def _is_valid(signer: Signer, row: int, record: bytes) -> bool:
    address = claimed_address(record)
    try:
        signer.unpack(address, record)
    except (InvalidRecordError, ValueError):
        return False
    return row_of(address) == row


def vacuum(folder: Path) -> int:
    """Remove what has expired, and give the room back to the file system; returns how many entries went."""
    with opened(folder) as database:
        removed = database.execute("DELETE FROM entries WHERE expires <= ?", (time.time(),)).rowcount
        database.execute("VACUUM")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return removed
