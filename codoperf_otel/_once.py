"""What is to be done only once, whichever threads and signal handlers come to it at the same time."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Once:
    """Says yes to the first who asks.

    >>> is_first = Once()
    >>> is_first(), is_first()
    (True, False)
    """

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = [None]

    def __call__(self) -> bool:
        """True for the first caller. One list operation decides, so an interrupt leaves no lock behind."""
        try:
            self._left.pop()
        except IndexError:
            return False
        return True

    @property
    def is_done(self) -> bool:
        """Whether somebody has asked."""
        return not self._left


class OncePerKey:
    """Says yes to the first who asks for a key.

    >>> is_first = OncePerKey()
    >>> is_first("a"), is_first("b"), is_first("a")
    (True, True, False)
    """

    __slots__ = ("_asked",)

    def __init__(self) -> None:
        self._asked: dict[Hashable, object] = {}

    def __call__(self, key: Hashable) -> bool:
        """True for the first caller with this key."""
        mine = object()
        return self._asked.setdefault(key, mine) is mine


class LateAttribute(Generic[T]):
    """An attribute that is computed at its first use, by several threads where they come at once.

    `functools.cached_property` of Python 3.11 holds a lock meanwhile, which a forked child finds taken.

    >>> class Folder:
    ...     @LateAttribute
    ...     def size(self):
    ...         return print("asked") or 3
    >>> folder = Folder()
    >>> folder.size, folder.size
    asked
    (3, 3)
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type | None = None) -> T:
        value = vars(instance)[self._name] = self._compute(instance)
        return value
