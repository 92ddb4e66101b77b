"""Functions that do their work when they are called, and return when it is done."""

from __future__ import annotations

import inspect
from typing import Any


def is_plain(func: Any) -> bool:
    """Whether it is one, or an object that is called as one."""
    return not isinstance(func, classmethod | staticmethod | type) and not _runs_later(func)


def _runs_later(func: Any) -> bool:
    """Whether a call does nothing yet but returns a coroutine or a generator."""
    kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    return any(is_kind(func) for is_kind in kinds)


def check_plain(caller: str, func: Any) -> None:
    """Refuse what does its work later than it is called.

    Raises:
        TypeError: it is a coroutine function, a generator function, or an object that is called as one.
    """
    if _runs_later(func) or _runs_later(type(func).__call__):
        raise TypeError(f"{caller} calls plain functions, not coroutine functions or generator functions")


def check_done(caller: str, returned: object) -> None:
    """Refuse what a function returned that has its work still to do.

    Raises:
        TypeError: it would have to be awaited or iterated over.
    """
    if inspect.iscoroutine(returned):
        returned.close()  # else it warns that nobody has awaited it
    if inspect.isawaitable(returned) or inspect.isgenerator(returned) or inspect.isasyncgen(returned):
        raise TypeError(f"{caller} calls functions whose work is done when they return, not {returned!r}")
