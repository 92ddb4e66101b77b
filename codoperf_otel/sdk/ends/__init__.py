"""The ends of a process that run no ``atexit`` handler: what is left is sent all the same, in bounded time.

``signals`` has the handler of SIGTERM and SIGHUP, ``waking`` what children need besides, ``immediate`` what
stands in the place of ``os._exit``, and ``servers`` what uvicorn and Celery are told. Each of them asks
``last_flush`` for the end of the handle.
"""

from __future__ import annotations

import atexit

from codoperf_otel.sdk.ends import immediate, last_flush, servers, signals, waking
from codoperf_otel.sdk.fork_hooks import ForkHooks
from codoperf_otel.sdk.handle import Handle

_fork_hooks: list[ForkHooks] = []


def attend(handle: Handle) -> None:
    """Be there at the ends of this process and of those that it forks."""
    last_flush.handle = handle
    signals.install()
    atexit.register(signals.install)  # asyncio puts the default action in their place
    waking.watch()
    _fork_hooks.append(ForkHooks(signals.hold_back, signals.let_come, signals.let_come))
    immediate.replace()
    servers.watch()


def leave() -> None:
    """Put back what was there before."""
    servers.leave()
    immediate.restore()
    waking.leave()
    atexit.unregister(signals.install)
    signals.remove()
    while _fork_hooks:
        _fork_hooks.pop().leave()
