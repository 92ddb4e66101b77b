"""Sums that are added to from anywhere."""

from __future__ import annotations

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
