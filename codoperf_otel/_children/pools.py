"""Workers that a pool starts anew, in the place of others: they belong to whom the first ones belong to.

A pool starts them in a thread of its own. All workers of one pool have the same queue.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from codoperf_otel import _forks
from codoperf_otel._calls.call import Call

_WORKERS = {"multiprocessing.pool", "concurrent.futures.process"}
_owners: WeakKeyDictionary[Any, Call] = WeakKeyDictionary()


def queue_of(process: Any) -> object | None:
    """The queue of a pool's worker that is about to start; None for other processes."""
    arguments = getattr(process, "_args", None)
    if arguments and getattr(process._target, "__module__", None) in _WORKERS:
        return arguments[0]  # type: ignore[no-any-return]
    return None


def owner(queue: object | None, call: Call | None) -> Call | None:
    """Whom a process belongs to that is started in a call, or outside any."""
    if queue is None:
        return call
    if call is None:
        return _owners.get(queue)
    _owners.setdefault(queue, call)
    return call


@_forks.in_child
def _forked() -> None:
    _owners.clear()
