"""Sums that are added to from anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from codoperf_otel._statistics.folds import Fold
from codoperf_otel._statistics.ledgers import BATCH


class Total(Fold[int, tuple[int, ...]]):
    """A sum that threads, signal handlers and finalizers may add to at any time.

    >>> total = Total()
    >>> total.value()
    >>> for value in (1, 2):
    ...     total.append(value)
    >>> total.value()
    3
    """

    __slots__ = ()

    def nothing(self) -> tuple[int, ...]:
        """No sum."""
        return ()

    def with_entries(self, before: tuple[int, ...], batch: list[int]) -> tuple[int, ...]:
        """The sum of all."""
        return (sum((*before, *batch)),)

    def value(self) -> int | None:
        """The sum so far; None before the first value."""
        return next(iter(self.fold()), None)


class Totals(Fold[tuple[str, int], Mapping[str, int]]):
    """Sums by name, and the highest of what is a `PEAK`, which are added to as a `Total` is.

    >>> totals = Totals()
    >>> for name, value in (("calls", 1), ("calls", 1), (PEAK, 5), (PEAK, 3)):
    ...     totals.add(name, value)
    >>> totals.values()
    {'calls': 2, 'peak': 5}
    """

    __slots__ = ()

    def nothing(self) -> Mapping[str, int]:
        """No sums."""
        return {}

    def with_entries(self, before: Mapping[str, int], batch: list[tuple[str, int]]) -> Mapping[str, int]:
        """The sums of all."""
        found: dict[str, list[int]] = {name: [value] for name, value in before.items()}
        for name, value in batch:
            found.setdefault(name, []).append(value)
        return {name: max(values) if name == PEAK else sum(values) for name, values in found.items()}

    def add(self, name: str, value: int) -> None:
        """Add a value to the sum of that name, as `append` does: a call less, as this is done often."""
        self._added.append((name, value))
        if len(self._added) >= BATCH:
            self.fold()

    def add_all(self, values: Iterable[tuple[str, int]]) -> None:
        """Add a value to the sum of each name, all in one step."""
        self._added.extend(values)
        if len(self._added) >= BATCH:
            self.fold()

    def values(self) -> Mapping[str, int]:
        """The sums so far, of those names that have one. It is never changed."""
        return self.fold()


PEAK = "peak"
"""The one name whose highest value is kept."""
