"""The begin and the end of a `multiprocessing` child, which runs no ``atexit`` handler."""

from __future__ import annotations

import sys

from codoperf_otel.sdk.ends import waking
from codoperf_otel.sdk.handle import Handle

_LAST = -100


def flush_at_process_end(handle: Handle) -> None:
    """Let the children that `multiprocessing` starts from here shut `handle` down when they end.

    Nothing happens where `multiprocessing` is not loaded, so a forked child has to call it again: the
    parent may have loaded it since. A finalizer made now would not do, the child's start forgets it.
    """
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.register_after_fork(handle, _begin)


def _begin(handle: Handle) -> None:
    from multiprocessing.util import Finalize

    Finalize(None, handle.end_with_process, exitpriority=_LAST)
    waking.watch()
