"""Where the sockets of this user's programs are: in one folder, each named by its process."""

from __future__ import annotations

import os
import re
import socket
import stat
from pathlib import Path

from codoperf_otel import _environment_variables as variables
from codoperf_otel._environment_variables import setting_error

_NAME = re.compile(r"(\d+)\.sock")


def chosen(live: bool | None) -> Path | None:
    """The folder in which a program listens that `configure` was given `live`; None where it does not.

    Raises:
        ValueError: a setting is wrong, or this platform has no such sockets.
    """
    if live not in (None, True, False):
        raise setting_error("live", live, "True or False")
    folder = _given()
    if live is False or (live is None and folder is None):
        return None
    if not hasattr(socket, "AF_UNIX"):
        raise setting_error("live", live or str(folder), "left out where Python has no Unix sockets")
    return folder or default_folder()


def in_force() -> Path:
    """The folder in which programs listen that say nothing else.

    Raises:
        ValueError: the variable does not name a folder.
    """
    return _given() or default_folder()


def default_folder() -> Path:
    """The folder of this user, unless the variable names one.

    No other variable counts: clients of the Model Context Protocol hand on few of theirs.
    """
    return Path("/tmp", f"codoperf-otel-{os.geteuid()}")  # noqa: S108  # it is checked whose it is


def socket_of(folder: Path, pid: int) -> Path:
    """Where the process listens."""
    return folder / f"{pid}.sock"


def sockets(folder: Path) -> dict[int, Path]:
    """The sockets in the folder, by process. One that ended without its end being run leaves its own."""
    try:
        named = {path: _NAME.fullmatch(path.name) for path in sorted(folder.iterdir())}
    except FileNotFoundError:
        return {}
    return {int(found[1]): path for path, found in named.items() if found and _is_socket(path)}


def is_answered(path: Path) -> bool:
    """Whether a process listens there."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.setblocking(False)
        try:
            connection.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except BlockingIOError:  # so many wait there that there is no more room
            return True
    return True


def _given() -> Path | None:
    return variables.option_or_variable("", None, variables.LIVE_DIR, variables.folder)


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return False
