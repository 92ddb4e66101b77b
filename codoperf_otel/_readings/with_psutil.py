"""This process as psutil sees it, for platforms without ``/proc``."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil


def process() -> psutil.Process:
    """This process, also after a fork.

    Raises:
        ModuleNotFoundError: psutil is not installed.
    """
    found = _process()
    if found is None:
        raise ModuleNotFoundError("psutil is not installed", name="psutil")
    return found


@cache
def _process() -> psutil.Process | None:
    try:
        import psutil
    except ImportError:
        return None
    return psutil.Process()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_process.cache_clear)
