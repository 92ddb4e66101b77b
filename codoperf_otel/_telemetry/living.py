"""Objects that are known as long as they live."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Generic, TypeVar
from weakref import ref

T = TypeVar("T")


class Living(Generic[T]):
    """A set of objects that keeps none of them alive.

    Threads, signal handlers and finalizers may add some while it is walked: a `weakref.WeakSet` would raise.

    >>> class Store: ...
    >>> stores, store = Living(), Store()
    >>> stores.add(store)
    >>> list(stores) == [store]
    True
    >>> del store
    >>> list(stores)
    []
    """

    def __init__(self) -> None:
        self._references: dict[int, ref[T]] = {}

    def add(self, each: T) -> None:
        """Know an object from now on."""
        self._references[id(each)] = ref(each, partial(_forget, ref(self), id(each)))

    def clear(self) -> None:
        """Know none any more."""
        self._references.clear()

    def __iter__(self) -> Iterator[T]:
        for reference in list(self._references.values()):  # at once, for that is no Python code
            each = reference()
            if each is not None:
                yield each


def _forget(known: ref[Living[T]], number: int, gone: ref[T]) -> None:
    living = known()
    if living is not None and living._references.get(number) is gone:
        living._references.pop(number, None)
