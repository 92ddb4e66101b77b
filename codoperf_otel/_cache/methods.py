"""Cached methods: bound ones whose ``cache_refresh`` and ``cache_bypass`` know their object, too.

Python's own bound method looks for attributes at its function, which knows no object. So what stands in the
class is a descriptor. Both are called by C code, and whatever else they are asked the genuine function or
bound method answers: for `inspect` and others they are these.
"""

from __future__ import annotations

import functools
from types import MethodType
from typing import Any

_OWN = frozenset({"func", "args", "keywords"})
_CALLS = frozenset({"cache_bypass", "cache_refresh"})
_func = functools.partial.func.__get__
_args = functools.partial.args.__get__


class BoundCachedMethod(functools.partial[Any]):
    """A cached function with the object that is its first argument."""

    def __getattribute__(self, name: str) -> Any:
        if name in _OWN:
            return super().__getattribute__(name)
        found = getattr(_genuine(self), name)
        return functools.partial(found, *_args(self)) if name in _CALLS else found

    def __eq__(self, other: object) -> bool:
        return bool(_genuine(self) == _genuine(other))

    def __hash__(self) -> int:
        return hash(_genuine(self))

    def __repr__(self) -> str:
        return repr(_genuine(self))


def _genuine(method: Any) -> Any:
    """Python's own bound method in place of one of these."""
    return MethodType(_func(method), *_args(method)) if type(method) is BoundCachedMethod else method


class CachedMethod(functools.partial[Any]):
    """A cached function as it stands in a class."""

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        function = _func(self)
        return function if instance is None else BoundCachedMethod(function, instance)

    def __getattribute__(self, name: str) -> Any:
        return super().__getattribute__(name) if name in _OWN else getattr(_func(self), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(_func(self), name, value)

    def __repr__(self) -> str:
        return repr(_func(self))
