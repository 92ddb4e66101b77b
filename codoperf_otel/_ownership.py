"""Folders are made, and whose a folder or a file is: nothing is kept where another user could change it."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Make a folder, and those around it, unless it is there.

    ``mkdir(exist_ok=True)`` takes any `OSError` for a folder that is there: also the program's time-out.

    Raises:
        OSError: it cannot be made.
    """
    try:
        os.mkdir(folder, mode)  # noqa: PTH102
    except FileExistsError:
        if not stat.S_ISDIR(folder.stat().st_mode):
            raise
    except FileNotFoundError:
        make_folder(folder.parent)
        with suppress(FileExistsError):  # somebody else may be as fast
            os.mkdir(folder, mode)  # noqa: PTH102


def demand_own_folder(folder: Path) -> None:
    """Refuse a folder that is not this user's alone.

    Raises:
        OSError: it, or a link on the way to it, is another user's, or others may write to it.
    """
    if hasattr(os, "geteuid"):
        demand_ours(folder, folder.stat())
        demand_trusted_links(folder)


def demand_trusted_links(path: Path) -> None:
    """Refuse a way that another user could let lead elsewhere at any time.

    Raises:
        OSError: it is so.
    """
    path = path.absolute()
    for part in (*reversed(path.parents), path):
        found = part.lstat()
        if not stat.S_ISLNK(found.st_mode):
            continue
        if found.st_uid not in (os.geteuid(), 0):
            raise PermissionError(f"{part} is a link of another user's")
        demand_trusted_links(part.parent / part.readlink())


def demand_ours(path: Path, found: os.stat_result) -> None:
    """Refuse what another user owns, or may write to.

    Raises:
        PermissionError: it is so.
    """
    if found.st_uid != os.geteuid():
        raise PermissionError(f"{path} belongs to another user")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"{path} may be written by other users")
