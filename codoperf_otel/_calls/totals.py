"""Sums that are added to from anywhere."""

from __future__ import annotations

from collections.abc import Mapping

from codoperf_otel._statistics import ledgers
from codoperf_otel._statistics.ledgers import BATCH


class Total:
    """A sum that threads, signal handlers and finalizers may add to at any time. It is folded as ledgers are.

    >>> total = Total()
    >>> total.value()
    >>> for value in (1, 2):
    ...     total.add(value)
    >>> total.value()
    3
    """

    __slots__ = ("_added", "_sum")

    def __init__(self) -> None:
        self._added: list[int] = []
        self._sum: tuple[int, ...] = ()

    def add(self, value: int) -> None:
        """Add a value."""
        self._added.append(value)
        if len(self._added) >= BATCH:
            self.value()

    def value(self) -> int | None:
        """The sum so far; None before the first value."""
        while True:
            before, added = self._sum, self._added
            batch = added[:]
            number = len(batch)
            after = (sum((*before, *batch)),) if batch else before
            with ledgers.commit:
                if self._sum is before:
                    self._sum = after
                    del added[:number]
                    break
        return after[0] if after else None


class Totals:
    """Sums by name, and the highest of what is a `PEAK`, which are added to as a `Total` is.

    >>> totals = Totals()
    >>> for name, value in (("calls", 1), ("calls", 1), (PEAK, 5), (PEAK, 3)):
    ...     totals.add(name, value)
    >>> totals.values()
    {'calls': 2, 'peak': 5}
    """

    __slots__ = ("_added", "_sums")

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """Begin anew, as a forked child does."""
        self._added: list[tuple[str, int]] = []
        self._sums: Mapping[str, int] = {}

    def add(self, name: str, value: int) -> None:
        """Add a value to the sum of that name."""
        self._added.append((name, value))
        if len(self._added) >= BATCH:
            self.values()

    def values(self) -> Mapping[str, int]:
        """The sums so far, of those names that have one. It is never changed."""
        while True:
            before, added = self._sums, self._added
            batch = added[:]
            number = len(batch)
            after = _with(before, batch) if batch else before
            with ledgers.commit:
                if self._sums is before:
                    self._sums = after
                    del added[:number]
                    break
        return after


PEAK = "peak"
"""The one name whose highest value is kept."""


def _with(sums: Mapping[str, int], batch: list[tuple[str, int]]) -> Mapping[str, int]:
    found = dict(sums)
    for name, value in batch:
        found[name] = max(found.get(name, 0), value) if name == PEAK else found.get(name, 0) + value
    return found
