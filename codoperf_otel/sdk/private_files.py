"""Files that are read and written by this user alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from codoperf_otel._ownership import demand_ours, demand_own_folder, demand_trusted_links, make_folder
from codoperf_otel._telemetry.interrupts import raise_interrupt
from codoperf_otel._telemetry.living import Living
from codoperf_otel._telemetry.paths import is_link

# not through a symbolic link, not waiting for the reader of a FIFO; on Windows, lines end as they are written
_FLAGS = sum(getattr(os, name, 0) for name in ("O_BINARY", "O_NOFOLLOW", "O_NONBLOCK"))


class OpenFile:
    """A file that is open in this process alone: a forked child lets it go.

    A program may close every descriptor it has, as daemons do, and another file may then bear the number.
    That one is neither written nor closed.

    Raises:
        OSError: it cannot be opened, or is not this user's alone.
    """

    def __init__(self, path: Path, flags: int) -> None:
        self.descriptor = opened(path, flags)
        self._identity = _identity(os.fstat(self.descriptor))
        _open.add(self)

    @property
    def status(self) -> os.stat_result | None:
        """Its present status; None where the descriptor names it no more."""
        if self.descriptor < 0:
            return None
        try:
            found = os.fstat(self.descriptor)
        except OSError as error:
            raise_interrupt(error)
            return None
        return found if _identity(found) == self._identity else None

    def close(self) -> None:
        """Close it, once."""
        is_ours = self.status is not None
        descriptor, self.descriptor = self.descriptor, -1
        if is_ours:
            os.close(descriptor)


_open: Living[OpenFile] = Living()


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _forked() -> None:
    """In a forked child: locks on the files of its parent's would otherwise outlive that."""
    for file in _open:
        file.close()
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def opened(path: Path, flags: int) -> int:
    """A descriptor of a file that is this user's alone, in a folder that is no other user's.

    Raises:
        OSError: it cannot be opened, or is not such a file.
    """
    make_folder(path.parent, 0o700)
    if is_link(path):
        raise PermissionError(f"{path} is a symbolic link")
    if hasattr(os, "geteuid"):
        if path.parent.stat().st_uid not in (os.geteuid(), 0):
            raise PermissionError(f"{path.parent} belongs to another user")
        demand_trusted_links(path.parent)
    descriptor = os.open(path, flags | _FLAGS, 0o600)
    try:
        _take(path, descriptor, flags)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def prepare(folder: Path) -> None:
    """Make a folder for this user alone.

    Raises:
        OSError: it cannot be made, or others may write to it.
    """
    make_folder(folder, 0o700)
    demand_own_folder(folder)


def _take(path: Path, descriptor: int, flags: int) -> None:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise PermissionError(f"{path} is not a regular file")
    if hasattr(os, "geteuid"):
        if found.st_uid != os.geteuid():
            raise PermissionError(f"{path} belongs to another user")
        if not flags & os.O_CREAT:  # what is in it is to be believed
            demand_ours(path, found)
        if found.st_mode & 0o077:
            os.fchmod(descriptor, 0o600)
