"""What every tier is to its store."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from codoperf_otel._cache.scope import Scope

SIZE = "size"
EXPIRED = "expired"
INVALID = "invalid"

OnEvict = Callable[["Scope | None", str, int], None]
"""Told by a tier of the entries it removed: whose (None where it cannot tell), why, how many."""


class Item(NamedTuple):
    """A value, the seconds it has left, and those it took to compute (None where nobody measured)."""

    value: Any
    ttl: float
    load: float | None


class Place(NamedTuple):
    """Where a value is kept: its scope, its key there, its address on disk (None: in memory only)."""

    scope: Scope
    key: Hashable
    address: str | None


class Tier(Protocol):
    """A place for items. None of its methods raises for what happens to the medium."""

    name: str

    def get(self, place: Place) -> Item | None:
        """The item, unless it expired."""
        ...

    def put(self, place: Place, item: Item) -> None:
        """Keep an item in place of the one before; a tier that cannot hold it holds nothing there."""
        ...

    def remove(self, place: Place) -> None:
        """Forget the item."""
        ...

    def clear(self, scope: Scope | None = None) -> None:
        """Forget all items of a scope, or of every scope."""
        ...

    def count(self, scope: Scope | None = None) -> int:
        """How many items of a scope, or of every scope, are kept."""
        ...

    def forked(self) -> None:
        """Make anew, in a forked child, what a process cannot share with its parent."""
        ...
