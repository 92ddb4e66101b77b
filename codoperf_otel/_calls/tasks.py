"""Which task of asyncio or trio runs on this thread."""

from __future__ import annotations

import sys
from typing import Any

_modules = sys.modules
_without_tasks = 0
"""How many modules were loaded when neither library was among them."""


def running_task() -> object:
    """The asyncio or trio task that runs on this thread, or None."""
    global _without_tasks
    if len(_modules) == _without_tasks:
        return None
    asyncio = _modules.get("asyncio")
    if asyncio is not None and (task := _asyncio_task(asyncio)) is not None:
        return task
    trio = _modules.get("trio")
    if trio is not None:
        return _trio_task(trio)
    if asyncio is None:
        _without_tasks = len(_modules)
    return None


def running_task_or_loop() -> object:
    """The running task; outside any, as in a callback, the running loop of asyncio; else None."""
    if len(_modules) == _without_tasks:
        return None
    task = running_task()
    if task is not None or (asyncio := _modules.get("asyncio")) is None:
        return task
    try:
        return asyncio._get_running_loop()
    except AttributeError:  # asyncio is being imported just now
        return None


def _asyncio_task(asyncio: Any) -> object:
    try:
        loop = asyncio._get_running_loop()
        return None if loop is None else asyncio.current_task(loop)
    except AttributeError:  # asyncio is being imported just now
        return None


def _trio_task(trio: Any) -> object:
    try:
        return trio.lowlevel.current_task()
    except (AttributeError, RuntimeError):  # not in a trio program
        return None
