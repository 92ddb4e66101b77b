"""Results that can be used once only. To return one twice would return it used up."""

from __future__ import annotations

from types import CoroutineType
from typing import Any

_MARKS = (
    (("__next__",), "an iterator"),
    (("__anext__",), "an asynchronous iterator"),
    (("__await__",), "an awaitable"),
    (("fileno",), "an open file"),
    (("acquire", "release"), "a lock"),
)
_BY_NAME = {
    "concurrent.futures._base.Future": "a future",
    "tempfile._TemporaryFileWrapper": "an open file",
}


def refuse(name: str, value: Any) -> None:
    """Refuse what can be used once only, as a result of the function of that name, or a value by it.

    Raises:
        TypeError: `value` is an iterator, a coroutine, a future, an open file or a lock.
    """
    kind = type(value)
    if kind.__module__ == "builtins" and kind.__qualname__ in _PLENTY:
        return
    what = _what(kind)
    if what is None:
        return
    if isinstance(value, CoroutineType):
        value.close()  # else it warns that nobody has awaited it
    raise TypeError(f"{name} cannot be cached: {kind.__qualname__} is {what}, which can be used once only")


_PLENTY = frozenset({"NoneType", "bool", "int", "float", "str", "bytes", "list", "dict", "tuple", "set"})


def _what(kind: type) -> str | None:
    """What a type is of these, by what it offers and by its bases' names."""
    if kind.__module__ == "unittest.mock":  # offers everything
        return None
    offered = frozenset[str]().union(*map(vars, kind.__mro__))  # `hasattr` would ask the metaclass too
    for names, what in _MARKS:
        if offered.issuperset(names):
            return what
    bases = (f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__)
    return next((_BY_NAME[base] for base in bases if base in _BY_NAME), None)
