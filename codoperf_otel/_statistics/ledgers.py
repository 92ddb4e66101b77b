"""Ledgers: what is appended per call, and what is folded of it.

Appending takes no lock. A fold computes new sums from the old ones and the entries, and puts them in place in
one step. If another fold came first, it computes again. So nothing is counted twice or lost, whatever comes
in between: another thread, a signal handler or a finalizer that reads the same figures, or an exception that
a handler raises.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from operator import itemgetter
from threading import RLock
from typing import Any, cast

from codoperf_otel import _forks
from codoperf_otel._statistics.summaries import EMPTY, Summary, merged
from codoperf_otel._telemetry.living import Living

BATCH = 256
"""Entries after which a ledger is folded."""

OVERDUE = 8 * BATCH
"""Entries after which it is folded even where another thread seems to be at it."""

commit = RLock()
"""Held while a result is put in place. Between its check and its stores nothing is called."""

_ended = itemgetter(0)


Columns = tuple[Sequence[float], Sequence[float | None], Sequence[float | None]]
"""Entries by column: wall times in ns, memory in MiB, CPU time / wall time."""


Entry = tuple[Any, ...]
"""One finished call: its end in Unix nanoseconds comes first, its ledger last."""


class Newest:
    """The newest entries of several ledgers."""

    __slots__ = ("entries", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.entries: list[Entry] = []

    def sorted(self) -> list[Entry]:
        """The newest entries, oldest first."""
        found = sorted(self.entries, key=_ended)
        return found[max(0, len(found) - self.limit) :]

    def trim(self) -> None:
        """Forget old entries, now and then."""
        entries = self.entries
        number = len(entries)
        if number < self.limit + BATCH:
            return
        kept = self.sorted()
        with commit:
            if self.entries is entries and len(entries) == number:
                self.entries = kept


class Ledger:
    """The calls recorded under one name for one monitor: what was appended, and what was folded of it."""

    __slots__ = ("__weakref__", "entries", "folded", "is_folding", "name", "newest")

    def __init__(self, name: str, newest: Newest) -> None:
        self.name = name
        self.newest = newest
        self.begin_anew()

    def begin_anew(self) -> None:
        """Begin anew, as a forked child does."""
        self.entries: list[Entry] = []
        self.folded: Any = self.nothing()
        self.is_folding = False

    def nothing(self) -> Any:
        """What is folded before the first entry."""
        return EMPTY

    @property
    def summary(self) -> Summary:
        """The statistics that were folded."""
        return cast("Summary", self.folded)

    def append(self, entry: Entry) -> None:
        """Count a finished call."""
        self.entries.append(entry)
        if len(self.entries) >= BATCH:
            self.fold_if_due()

    def fold_if_due(self) -> None:
        """Fold a ledger that has `BATCH` entries, unless another thread is at it."""
        if not self.is_folding or len(self.entries) >= OVERDUE:
            self.is_folding = True
            try:
                self.fold()
            finally:
                self.is_folding = False

    def fold(self) -> None:
        """Take in what was appended."""
        while self.entries:
            before = self.folded
            entries = self.entries
            batch = entries[:]
            number = len(batch)
            if not number:  # a signal handler has folded it just now
                break
            folded = self.with_entries(before, batch)
            newest = self.newest
            with commit:
                if self.folded is before:
                    self.folded = folded
                    newest.entries += batch
                    del entries[:number]
                    break
        self.newest.trim()

    def with_entries(self, before: Any, batch: list[Entry]) -> Any:
        """What was folded before, with this batch added to it."""
        return before.with_calls(*self.columns(batch))

    def without_summary(self, before: Any) -> Any:  # noqa: ARG002
        """What was folded, but for the statistics."""
        return EMPTY

    def columns(self, batch: list[Entry]) -> Columns:
        """What the statistics need of a batch."""
        _, wall_ns, memory, cpu_share, *_ = zip(*batch, strict=True)
        return wall_ns, memory, cpu_share

    def metadata(self, entry: Entry) -> dict[str, Any]:
        """What was said of a call beside its figures."""
        return entry[4] or {}

    def forget_summary(self) -> None:
        """Empty the statistics; what else was folded stays."""
        self.fold()
        while True:
            before = self.folded
            without = self.without_summary(before)
            with commit:
                if self.folded is before:
                    self.folded = without
                    break


MAX_NAMES = 10_000
OVERFLOW_NAME = "(other)"
"""Statistics of names beyond the first `MAX_NAMES` are kept under this one."""


class Statistics:
    """The ledgers of one monitor, by name."""

    def __init__(self, newest: int) -> None:
        self.number = next(_numbers)
        self._limit = newest
        self.begin_anew()
        _all.add(self)

    def begin_anew(self) -> None:
        """Begin anew, as a forked child does."""
        self.newest = Newest(self._limit)
        self._ledgers: dict[str, list[Ledger]] = {}
        self._own: dict[str, Ledger] = {}

    def bounded(self, name: str) -> str:
        """The name, or that of the overflow where there are too many names."""
        return name if name in self._ledgers or len(self._ledgers) < MAX_NAMES else OVERFLOW_NAME

    def attend(self, ledger: Ledger) -> None:
        """Let a ledger's calls be known under its name."""
        self._ledgers.setdefault(ledger.name, []).append(ledger)

    def own(self, name: str) -> Ledger:
        """The ledger of calls under a name that were measured elsewhere."""
        name = self.bounded(name)
        found = self._own.get(name)
        if found is None:
            made = Ledger(name, self.newest)
            found = self._own.setdefault(name, made)
            if found is made:
                self.attend(made)
        return found

    def newest_entries(self) -> list[Entry]:
        """The newest entries, oldest first."""
        for ledger in self._known(None):
            ledger.fold()
        return self.newest.sorted()

    def summary(self, name: str | None) -> Summary | None:
        """What was seen under a name, or under all of them where it is None; None where that is nothing."""
        ledgers = self._known(name)
        for ledger in ledgers:
            ledger.fold()
        whole = merged(ledger.summary for ledger in ledgers)
        return whole if whole.seconds.number else None

    def _known(self, name: str | None) -> list[Ledger]:
        named = list(self._ledgers.values()) if name is None else [self._ledgers.get(name, [])]
        return [ledger for ledgers in named for ledger in ledgers[:]]

    def clear(self) -> None:
        """Forget everything."""
        for ledger in self._known(None):
            ledger.forget_summary()
        own, self._own = self._own, {}
        for name, ledger in list(own.items()):
            for other in self._ledgers.pop(name, []):
                if other is not ledger:
                    self.attend(other)
        self.newest.entries = []


_all: Living[Statistics] = Living()
_numbers = count()


@_forks.in_child
def _forked() -> None:
    global commit
    commit = RLock()
    for statistics in _all:
        statistics.begin_anew()
