"""Servers and workers whose own end leaves no time for what is left: uvicorn and Celery."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from types import ModuleType
from typing import Any

from codoperf_otel._patching.import_hook import Hook
from codoperf_otel._patching.replacing import Replacement, restore
from codoperf_otel._telemetry.interrupts import raise_interrupt
from codoperf_otel.sdk.ends import last_flush

_replaced: list[Replacement] = []
_disconnects: list[Callable[[], object]] = []


def watch() -> None:
    """Be there at the end of those that are loaded, and of those that come later."""
    _hook.install()
    for name, attend in _ATTENDED.items():
        module = sys.modules.get(name)
        if module is not None:
            attend(module)


def leave() -> None:
    """Put back what was there before."""
    _hook.remove()
    restore(_replaced)
    _replaced.clear()
    while _disconnects:
        _disconnects.pop()()


def _attend_uvicorn(module: Any) -> None:
    """It ends itself by the signal that it was sent, after it has put back the default action."""
    server = getattr(module, "Server", None)
    if server is not None:  # else it is being imported
        replaced = Replacement(server, "shutdown", server.shutdown, _flushing(server.shutdown))
        _replaced.append(replaced)
        replaced.put(replaced.replacement)


def _flushing(shutdown: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(shutdown)
    async def flushing_shutdown(*args: Any, **kwargs: Any) -> Any:
        try:
            return await shutdown(*args, **kwargs)
        finally:
            await _flush()

    return flushing_shutdown


async def _flush() -> None:
    """Send what there is now. The loop goes on: an endpoint may be served by it."""
    from asyncio import to_thread

    handle = last_flush.handle
    if handle is None:
        return
    limit = handle.longest_flush(last_flush.SECONDS)
    try:
        await to_thread(handle.force_flush, limit)
    except RuntimeError as error:  # the program has shut the loop's threads down
        raise_interrupt(error)
        handle.force_flush(limit)


def _attend_celery(module: Any) -> None:
    """Its workers end by ``os._exit`` after they have told their parent, which does not wait for long."""
    module.worker_process_shutdown.connect(_end_worker, weak=False)
    _disconnects.append(partial(module.worker_process_shutdown.disconnect, _end_worker))


def _end_worker(**_: Any) -> None:
    last_flush.flush()


_ATTENDED: dict[str, Callable[[Any], None]] = {
    "uvicorn.server": _attend_uvicorn,
    "celery.signals": _attend_celery,
}


@contextmanager
def _around(module: ModuleType) -> Iterator[None]:
    yield
    _ATTENDED[module.__name__](module)


_hook = Hook(_ATTENDED.__contains__, _around)
