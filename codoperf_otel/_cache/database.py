"""The SQLite file of a folder: opened when needed, and opened anew after whatever happened to it."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from codoperf_otel import _forks
from codoperf_otel._cache import clocks
from codoperf_otel._cache.folder import (
    ASIDE,
    KEY_FILE,
    State,
    move_aside,
    prepare,
    remove,
    signing_key,
    state_of,
)
from codoperf_otel._cache.records import Signer
from codoperf_otel._cache.sqlite import (
    ABANDONED,
    CORRUPT,
    LOCKED,
    LOG_PAGES,
    OTHER_SCHEMA,
    PASSING,
    connect,
    delete,
    empty_log,
    error_code,
    is_closed,
    make_schema,
    read_others,
    write_others,
)
from codoperf_otel._once import LateAttribute, Once
from codoperf_otel._telemetry.interrupts import raise_interrupt
from codoperf_otel._telemetry.living import Living

if TYPE_CHECKING:
    import sqlite3

T = TypeVar("T")

log = logging.getLogger("codoperf_otel.cache")

FILE = "cache.sqlite3"
OFF_SECONDS = 60.0
LOCKED_SECONDS = 5.0
"""How long nothing is written after another program has kept the file locked for all that we waited."""
LOCK_SECONDS = 2.0
KNOWN_SECONDS = 0.05
"""How long a removed file may go unnoticed: to ask at each access would cost a fifth of it."""


_inside_sqlite = _forks.ForkSafeLock()
"""One for all: a forked child would wait for a lock of SQLite's own that a thread of its parent has."""


_living: Living[Database] = Living()


def _close(connection: sqlite3.Connection) -> None:
    """At the program's end, daemon threads go on: to close what one of them uses would crash."""
    lock = _inside_sqlite.lock
    if lock.acquire(timeout=LOCK_SECONDS):
        try:
            connection.close()
        finally:
            lock.release()


class Database:
    """One connection to a folder's file. One thread at a time uses any of them."""

    signer: Signer

    def __init__(
        self, folder: Callable[[], Path], on_emptied: Callable[[int], None], log_pages: int = LOG_PAGES
    ) -> None:
        self._folder = folder
        self._log_pages = log_pages
        self._on_emptied = on_emptied
        self._clock = clocks.monotonic
        self._off_until = self._known_until = self._locked_until = float("-inf")
        self._is_first_lock = Once()
        self._is_first_failure = Once()
        self._is_first_repair = Once()
        self._known: tuple[State, ...] = (None,)
        self._has_ended = False
        self._connection: sqlite3.Connection | None = None
        self._closer: weakref.finalize[..., Any] | None = None
        _living.add(self)

    def forked(self) -> None:
        """Leave the connection to the parent."""
        if self._closer is not None:
            self._closer.detach()
            ABANDONED.append(self._connection)
        self._connection = self._closer = None

    def run(self, work: Callable[[sqlite3.Connection], T], otherwise: T, *, create: bool = False) -> T:
        """What `work` returns; `otherwise` if the medium fails, or is absent and not to be created."""
        if _inside_sqlite.is_wanted:
            _inside_sqlite.give_way()
        with _inside_sqlite.lock:
            for _ in range(2):
                try:
                    connection = self._connection
                    if connection is None or self._clock() > self._known_until:
                        connection = self._connected(create)
                    return otherwise if connection is None else work(connection)
                except Exception as error:
                    raise_interrupt(error)
                    if not self._recovered(error):
                        break
                finally:
                    if self._has_ended:
                        self.close()
        return otherwise

    def write(self, work: Callable[[sqlite3.Connection], T], otherwise: T, *, create: bool = False) -> T:
        """The same for what writes; `otherwise` also while another program keeps the file locked."""

        def written(connection: sqlite3.Connection) -> T:  # asked under the lock, for which others wait too
            return otherwise if self._clock() < self._locked_until else work(connection)

        return self.run(written, otherwise, create=create)

    def erase(self, scope: str | None) -> None:
        """Delete the entries of a scope, or all.

        Where nothing can be written, as on a full disk, the file is removed. As many of the other scopes'
        entries as there is room for are put into a new one.
        """
        self._locked_until = float("-inf")
        self.run(lambda db: delete(db, scope), None)
        if self._clock() < self._off_until:
            with _inside_sqlite.lock:
                self._begin_anew(scope)
        elif self._clock() < self._locked_until:
            log.warning("cache %s is not cleared: another program locks it", self._path)
        else:
            self.run(empty_log, None)

    def _begin_anew(self, without: str | None) -> None:
        path = Path(self._path)
        for each in _living:  # a file takes its room until nobody has it open
            if each._path == self._path:
                each.close()
        try:
            others = () if without is None else self._tried(lambda: read_others(path, without), ())
            remove(path)
            if others:
                self._tried(lambda: write_others(path, others), None)
        except OSError as error:
            raise_interrupt(error)
            log.warning("cache %s cannot be cleared: %s", self._path, error)

    def _tried(self, work: Callable[[], T], otherwise: T) -> T:
        try:
            return work()
        except Exception as error:
            raise_interrupt(error)
            log.debug("cache %s loses entries, as nothing can be written: %s", self._path, error)
            return otherwise

    def _connected(self, create: bool) -> sqlite3.Connection | None:
        now = self._clock()
        if now < self._off_until:
            return None
        self._known_until = now + KNOWN_SECONDS
        found = self._states()
        if self._connection is not None:
            if found == self._known:
                return self._connection
            self.close()  # something was removed, or replaced, or others may write it now
        is_wanted = create or found[0] is not None
        return self._open() if is_wanted and now >= self._locked_until else None

    def _states(self) -> tuple[State, ...]:
        path = Path(self._path)
        return tuple(map(state_of, (path, path.parent, path.with_name(KEY_FILE))))

    def _open(self) -> sqlite3.Connection:
        path = Path(self._path)
        prepare(path)
        self.signer = Signer(signing_key(path.parent))
        self._known = self._states()
        connection, emptied = connect(path, self._log_pages)
        self.close()  # what a signal handler has opened meanwhile
        self._connection = connection
        self._closer = weakref.finalize(self, _close, connection)
        self._count_emptied(emptied)
        return connection

    def _count_emptied(self, number: int) -> None:
        if number:
            self._on_emptied(number)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        connection, closer = self._connection, self._closer
        self._connection = self._closer = None  # first: a signal handler may come here meanwhile
        if closer is not None:
            closer.detach()
        if connection is not None:
            connection.close()  # not by the finalizer, which does nothing at the program's end

    def _recovered(self, error: Exception) -> bool:
        """Deal with what went wrong; whether it is worth another try."""
        code = error_code(error)
        if code in LOCKED:
            self._locked_until = self._clock() + LOCKED_SECONDS
            tell = log.warning if self._is_first_lock() else log.debug
            tell("cache %s takes nothing for %g s: another program locks it", self._path, LOCKED_SECONDS)
        elif code in PASSING:
            log.debug("cache %s left something out: %s", self._path, error)
        elif code is None and is_closed(error):
            self._has_ended = self._closer is not None and not self._closer.alive
            self.close()
            return True
        elif code in CORRUPT and self._is_first_repair():
            log.warning("cache %s is corrupted and moved aside (%s): %s", self._path, ASIDE, error)
            return self._repaired(self._move_aside)
        elif code in OTHER_SCHEMA and self._connection and self._is_first_repair():
            log.warning("cache %s has other tables and begins anew: %s", self._path, error)
            return self._repaired(self._empty)
        else:
            self._turn_off(error)
        return False

    def _repaired(self, repair: Callable[[], None]) -> bool:
        try:
            repair()
        except Exception as failure:
            raise_interrupt(failure)
            self._turn_off(failure)
            return False
        return True

    def _move_aside(self) -> None:
        self.close()
        move_aside(Path(self._path), self._known[0])

    def _empty(self) -> None:
        if self._connection is not None:
            self._count_emptied(make_schema(self._connection, anew=True))

    def _turn_off(self, error: Exception) -> None:
        self.close()
        self._off_until = self._clock() + OFF_SECONDS
        tell = log.warning if self._is_first_failure() else log.debug
        tell("cache %s is not used for a while, entries stay in memory: %s", self._path, error)

    @LateAttribute
    def _path(self) -> str:
        path = self._folder() / FILE
        try:
            return str(path.absolute())
        except OSError as error:  # the working folder is gone
            raise_interrupt(error)
            return str(path)
