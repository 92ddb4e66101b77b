"""The end of the handle where the process ends at once."""

from __future__ import annotations

import _thread
import sys
from collections.abc import Sequence
from types import BuiltinFunctionType
from typing import Any

from codoperf_otel.sdk.handle import Handle

SECONDS = 1.5
"""How long it may take."""

_MARGIN = 0.2

handle: Handle | None = None
"""What is to be ended. Set it as an attribute of this module."""


def flush() -> None:
    """End the handle in another thread, and wait for it for a bounded time.

    The calling thread may be in a signal handler that came while it had a lock for which the other one waits.
    """
    if handle is None:
        return
    start_new_thread, allocate_lock = _natively(("start_new_thread", "allocate_lock"))
    done = allocate_lock()
    done.acquire()
    try:
        start_new_thread(_end, (handle, done))
    except RuntimeError:  # the interpreter ends, or there are too many threads
        _end(handle, done)
    done.acquire(timeout=SECONDS + _MARGIN)


def _end(running: Handle, done: Any) -> None:
    try:
        running.end_within(SECONDS)
    finally:
        done.release()


def threads_are_native() -> bool:
    """False where gevent or eventlet have put greenlets in the place of threads."""
    return isinstance(_thread.start_new_thread, BuiltinFunctionType)


def _natively(names: Sequence[str]) -> list[Any]:
    """What the interpreter has in `_thread`: gevent's threads would wait for the one that waits for them."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None:
        return [getattr(_thread, name) for name in names]
    return list(monkey.get_original("_thread", names))
