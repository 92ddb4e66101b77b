"""Files that are read and written by this user alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from codoperf_otel._ownership import demand_own_folder, demand_trusted_links

# not through a symbolic link, not waiting for the reader of a FIFO; on Windows, lines end as they are written
_FLAGS = sum(getattr(os, name, 0) for name in ("O_BINARY", "O_NOFOLLOW", "O_NONBLOCK"))


def opened(path: Path, flags: int) -> int:
    """A descriptor of a file that is this user's alone, in a folder that is no other user's.

    Raises:
        OSError: it cannot be opened, or is not such a file.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.is_symlink():
        raise PermissionError(f"{path} is a symbolic link")
    if hasattr(os, "geteuid"):
        if path.parent.stat().st_uid not in (os.geteuid(), 0):
            raise PermissionError(f"{path.parent} belongs to another user")
        demand_trusted_links(path.parent)
    descriptor = os.open(path, flags | _FLAGS, 0o600)
    try:
        _take(path, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def prepare(folder: Path) -> None:
    """Make a folder for this user alone.

    Raises:
        OSError: it cannot be made, or others may write to it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    demand_own_folder(folder)


def _take(path: Path, descriptor: int) -> None:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise PermissionError(f"{path} is not a regular file")
    if hasattr(os, "geteuid"):
        if found.st_uid != os.geteuid():
            raise PermissionError(f"{path} belongs to another user")
        if found.st_mode & 0o077:
            os.fchmod(descriptor, 0o600)
