"""The folder of the disk tier: this user's alone, with the key that signs what is written there."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

from codoperf_otel._ownership import demand_ours, demand_own_folder, make_folder
from codoperf_otel._telemetry.interrupts import raise_interrupt
from codoperf_otel._telemetry.paths import is_there

CLAIMS_FILE = "claims.lock"
KEY_FILE = "signing.key"
KEY_BYTES = 32
ASIDE = ".corrupted"
_SUFFIXES = ("-wal", "-shm", "")


def prepare(path: Path) -> None:
    """Make folder and file for this user alone.

    Raises:
        OSError: the folder or one of its files is, or may become, another user's.
    """
    make_folder(path.parent, 0o700)
    check(path)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def check(path: Path) -> None:
    """Refuse a folder, or a file of a cache in it, that is or may become another user's.

    Others may no longer read the files. None is opened: to close it would drop the locks of SQLite.

    Raises:
        OSError: the folder or one of its files is, or may become, another user's.
    """
    demand_own_folder(path.parent)
    if hasattr(os, "geteuid"):
        files = [path.with_name(path.name + suffix) for suffix in _SUFFIXES]
        for each in (*files, path.with_name(KEY_FILE), path.with_name(CLAIMS_FILE)):
            with contextlib.suppress(FileNotFoundError):
                _demand_private(each)


def signing_key(folder: Path) -> bytes:
    """The key that signs the entries of a folder; the first who asks makes it.

    Raises:
        OSError: it cannot be made, or is, or may become, another user's.
    """
    path = folder / KEY_FILE
    if not is_there(path):
        _make_key(path)
    if hasattr(os, "geteuid"):
        _demand_private(path)
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise PermissionError(f"{path} holds no key; remove it, and entries begin anew")
    return key


def _make_key(path: Path) -> None:
    """Make the key whole before it has its name, so that nobody reads a part of it."""
    unnamed = path.with_name(f"{KEY_FILE}.{os.urandom(8).hex()}")
    try:
        _write_key(unnamed)
        _give_name(unnamed, path)
    finally:
        unnamed.unlink(missing_ok=True)


def _write_key(unnamed: Path) -> None:
    descriptor = os.open(unnamed, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, os.urandom(KEY_BYTES))
    finally:
        os.close(descriptor)


def _give_name(unnamed: Path, path: Path) -> None:
    try:
        os.link(unnamed, path)
    except OSError as error:  # another process was faster, or the file system has no links
        raise_interrupt(error)
        if not is_there(path):
            unnamed.replace(path)


def move_aside(path: Path, state: State) -> None:
    """Give a corrupted database another name, unless another process did so already.

    Raises:
        OSError: the folder does not allow it.
    """

    def move() -> None:
        if state != state_of(path):
            return
        for suffix in _SUFFIXES:
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).replace(path.with_name(path.name + ASIDE + suffix))

    _alone(path.parent, move)


def remove(path: Path) -> None:
    """Remove a database of this user's: that takes no room on a disk that is full.

    Raises:
        OSError: it is another user's, or the folder does not allow it.
    """
    if is_there(path):
        prepare(path)
        _alone(path.parent, lambda: _unlink(path))


def _unlink(path: Path) -> None:
    for suffix in _SUFFIXES:
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _alone(folder: Path, work: Callable[[], None]) -> None:
    """Do some work in one process at a time, where the platform has file locks."""
    try:
        import fcntl
    except ImportError:
        work()
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        work()
    finally:
        os.close(descriptor)


State = tuple[int, ...] | None


def state_of(path: Path) -> State:
    """What tells a file from one that has taken its place, and whose it is; None where there is none.

    A file that nobody has open may have the number of the one before: a key also counts by its time.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise_interrupt(error)
        return None
    return found.st_ino, found.st_mode, found.st_uid, found.st_mtime_ns if path.name == KEY_FILE else 0


def _demand_private(path: Path) -> None:
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise PermissionError(f"{path} is not a regular file")
    demand_ours(path, found)
    if found.st_mode & 0o077:
        path.chmod(0o600)
