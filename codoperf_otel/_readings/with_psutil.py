"""This process as psutil sees it, for platforms without ``/proc``."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from codoperf_otel import _forks

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


@_forks.in_child
def _forked() -> None:
    _process.cache_clear()
