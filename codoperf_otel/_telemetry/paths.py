"""What stands at a path.

`os.path` and newer `pathlib` take every `OSError` for a no: also the time-out that a signal handler raises.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import TypeAlias

from codoperf_otel._telemetry.interrupts import raise_interrupt

AnyPath: TypeAlias = "str | os.PathLike[str]"


def is_there(path: AnyPath) -> bool:
    """Whether anything stands there."""
    return _mode(os.stat, path) != 0


def is_file(path: AnyPath) -> bool:
    """Whether a file stands there, or a link to one."""
    return stat.S_ISREG(_mode(os.stat, path))


def is_folder(path: AnyPath) -> bool:
    """Whether a folder stands there, or a link to one."""
    return stat.S_ISDIR(_mode(os.stat, path))


def is_link(path: AnyPath) -> bool:
    """Whether a symbolic link stands there."""
    return stat.S_ISLNK(_mode(os.lstat, path))


def real_path(path: AnyPath) -> str:
    """The path without links; of what is not there, the absolute one."""
    try:
        return os.path.realpath(path, strict=True)
    except OSError as error:
        raise_interrupt(error)
        return os.path.abspath(path)  # noqa: PTH100


def _mode(ask: Callable[[AnyPath], os.stat_result], path: AnyPath) -> int:
    """The mode of what stands there; 0 where nothing does, or nobody may know."""
    try:
        return ask(path).st_mode
    except (OSError, ValueError) as error:  # ValueError: no path can be so
        raise_interrupt(error)
        return 0
