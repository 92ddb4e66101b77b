"""How cached functions are pickled by value, as `cloudpickle` does with those of ``__main__``.

What such a function holds is pickled as a part of its cache, and the cache as what makes it again. Wherever
one is unpickled twice in a process, it is one and the same, so what the first kept the second finds.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from operator import attrgetter
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary, ref

T = TypeVar("T")


class Part:
    """An object that is pickled as what its owner has under a name."""

    _owner: Callable[[], Any]
    _path: str

    def belongs_to(self, owner: Any, path: str) -> None:
        """Say whose part this is, and where its owner has it."""
        self._owner, self._path = ref(owner), path

    def __reduce__(self) -> tuple[Any, ...]:
        return _part_of, (self._owner(), self._path)


def _part_of(owner: Any, path: str) -> Any:
    return attrgetter(path)(owner)


class Entries(Part, dict[Any, Any]):
    """What a cache has in memory, by key."""


class Log(Part, list[Any]):
    """The uses of entries that are not counted yet."""


class Unpickled(Generic[T]):
    """The objects of one kind that were pickled or unpickled in this process, while they live."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[str, T] = WeakValueDictionary()

    def token(self, each: T) -> str:
        """What stands for an object in every process."""
        token: str = vars(each).setdefault("_token", os.urandom(16).hex())
        self._known[token] = each
        return token

    def get(self, token: str, make: Callable[[], T]) -> T:
        """The object of that token; a new one in a process that has none."""
        found = self._known.get(token)
        if found is None:
            made = make()
            vars(made)["_token"] = token
            found = self._known.setdefault(token, made)
        return found
