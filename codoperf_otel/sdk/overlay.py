"""A thing as it is, but for a few attributes."""

from __future__ import annotations

from typing import Any


class Overlay:
    """Stands in for an object that others read.

    >>> from types import SimpleNamespace
    >>> changed = Overlay(SimpleNamespace(name="a", kind=1), name="b")
    >>> changed.name, changed.kind
    ('b', 1)
    """

    def __init__(self, item: object, **changed: object) -> None:
        self.__dict__.update(changed)
        self.__item = item

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__item, name)
