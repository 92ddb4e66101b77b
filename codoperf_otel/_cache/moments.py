"""What was kept when a computation began, so that it takes no place of what others have written since."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from codoperf_otel._cache.namespace import Location
from codoperf_otel._cache.tiers import Item, Tier

WHATEVER: Any = ...


class Moment(NamedTuple):
    """A key as a tier had it: the marks that the last clears left, and what tells the value from others.

    `kept` is None where there was no value, `WHATEVER` where any may be replaced.
    """

    cleared: Any
    kept: Any


Moments = Mapping[Tier, Moment]
"""Of those tiers that processes share."""

NOTHING: Moments = {}


class Shared(Protocol):
    """What a tier offers that several processes share. None of it raises for what happens to the medium."""

    def moment(self, location: Location) -> Moment | None:
        """What is kept now; None where that cannot be known."""
        ...

    def put_since(self, location: Location, item: Item, since: Moment) -> bool:
        """Keep an item as `put` does. False: somebody has written or cleared its key since, so it is not."""
        ...


def taken(tiers: tuple[Any, ...], location: Location) -> Moments:
    """The moments of those tiers that have them."""
    # by name: `isinstance` of a protocol takes 11 µs on Python 3.11
    found = ((tier, tier.moment(location)) for tier in tiers if hasattr(tier, "moment"))
    return {tier: moment for tier, moment in found if moment is not None}


def put(tier: Any, location: Location, item: Item, since: Moments) -> bool:
    """Put an item into a tier. False: its moment there is over."""
    moment = since.get(tier)
    if moment is not None:
        return bool(tier.put_since(location, item, moment))
    tier.put(location, item)
    return True
