"""Threads that wait for each other: a computation for a thread, and that thread for the computation.

Computations that wait for each other know it by their marks (see `flights`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from threading import current_thread
from types import FrameType
from typing import Any

_WAITING = frozenset({"threading", "concurrent.futures._base"})
_RUNNING = frozenset({"concurrent.futures.thread"})
_PACKAGE = __name__.partition(".")[0]
_LOCKING = frozenset(
    f"{_PACKAGE}._cache.{name}" for name in ("counts", "database", "flights", "memory", "namespace", "store")
)


def waits_for_caller(thread: int) -> bool:
    """Whether that thread waits for the calling one to end, or for a future of the calling one.

    Known are the `join` of threads and futures of a `ThreadPoolExecutor`, by their frames.
    """
    runs = (getattr(work, "future", None) for work in _owners(sys._getframe(), _RUNNING))
    mine = [current_thread(), *(future for future in runs if future is not None)]
    frame = sys._current_frames().get(thread)
    return any(each is own for each in _owners(frame, _WAITING) for own in mine)


def is_inside_cache() -> bool:
    """Whether a signal handler or a finalizer calls, and has interrupted what may hold a cache's lock."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and _module_of(frame).partition(".")[0] == _PACKAGE:
        frame = frame.f_back
    while frame is not None and _module_of(frame) not in _LOCKING:
        frame = frame.f_back
    return frame is not None


def _module_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))


def _owners(frame: FrameType | None, modules: frozenset[str]) -> Iterator[Any]:
    """Whose methods a stack stands in, of those that these modules define, and the futures it waits for."""
    while frame is not None:
        if frame.f_globals.get("__name__") in modules:
            yield frame.f_locals.get("self")
            yield from frame.f_locals.get("fs", ())
        frame = frame.f_back
