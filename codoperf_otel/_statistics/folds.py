"""What is added to from anywhere and folded as ledgers are, but belongs to no monitor."""

from __future__ import annotations

from typing import Generic, TypeVar

from codoperf_otel._statistics import ledgers
from codoperf_otel._statistics.ledgers import BATCH

E = TypeVar("E")
F = TypeVar("F")


class Fold(Generic[E, F]):
    """Entries that threads, signal handlers and finalizers may add at any time, and what is made of them.

    What is folded is never changed: a fold puts another in its place, in one step.
    """

    __slots__ = ("_added", "_folded")

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """Begin anew, as a forked child does."""
        self._added: list[E] = []
        self._folded = self.nothing()

    def nothing(self) -> F:
        """What is folded before the first entry."""
        raise NotImplementedError

    def with_entries(self, before: F, batch: list[E]) -> F:
        """What was folded before, with this batch added to it: another object."""
        raise NotImplementedError

    def append(self, entry: E) -> None:
        """Add an entry."""
        self._added.append(entry)
        if len(self._added) >= BATCH:
            self.fold()

    def fold(self) -> F:
        """Take in what was added; returns all that is folded."""
        while self._added:
            before, added = self._folded, self._added
            batch = added[:]
            number = len(batch)
            if not number:  # a signal handler has folded it just now
                break
            after = self.with_entries(before, batch)
            with ledgers.commit:
                if self._folded is before:
                    self._folded = after
                    del added[:number]
                    break
        return self._folded
