"""What every tier is to its store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from codoperf_otel._cache.namespace import Location, Namespace

OnEvict = Callable[[Namespace | None, str, int], None]
"""Called by a tier with whose entries it removed (None if it does not know), why, and how many."""


class Item(NamedTuple):
    """A value, the seconds it has left, and those it took to compute (None where nobody measured).

    One that expired has no seconds left, but 0 or fewer. `origin` are the ids of the span that computed it,
    in bytes, where these are wanted. `tier` is the name of the tier in which it was found.
    """

    value: Any
    ttl: float
    load: float | None
    origin: bytes = b""
    tier: str = ""

    @property
    def is_fresh(self) -> bool:
        """Whether it has not expired."""
        return self.ttl > 0


class Tier(Protocol):
    """A place for items. None of its methods raises for what happens to the medium."""

    name: str
    counts_at_once: bool
    """Whether `count` is cheap enough to be asked at each collection."""

    def get(self, location: Location) -> Item | None:
        """The item, unless it expired, and the namespace's grace is over too."""
        ...

    def put(self, location: Location, item: Item) -> None:
        """Keep an item in place of the one before; a tier that cannot hold it holds nothing there."""
        ...

    def remove(self, location: Location) -> None:
        """Forget the item."""
        ...

    def clear(self, namespace: Namespace | None = None) -> None:
        """Forget all items of a namespace, or of every namespace."""
        ...

    def count(self, namespace: Namespace | None = None) -> int:
        """How many items of a namespace, or of every namespace, are kept."""
        ...

    def size(self, namespace: Namespace | None = None, /) -> int | None:
        """The bytes of the values of a namespace, or of every namespace; None where the tier cannot know."""
        ...

    def forked(self) -> None:
        """Make anew, in a forked child, what a process cannot share with its parent."""
        ...


EvictedFrom = Callable[[str, Namespace | None, str, int], None]
"""An `OnEvict` that is told the tier's name first."""

MakeTier = Callable[[EvictedFrom], Tier]
"""Makes a tier when it is first asked."""
