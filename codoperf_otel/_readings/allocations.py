"""What Python has allocated since a moment and not freed yet, and by which lines: `tracemalloc` says it.

Whoever begins first starts the tracing, and the last one that ends stops it. Where the program traces by
itself, it goes on.
"""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from threading import RLock
from typing import NamedTuple

from codoperf_otel import _forks
from codoperf_otel._telemetry.interrupts import raise_interrupt

MOST_SITES = 5

_OWN = (tracemalloc.__file__, str(Path(__file__).parents[1]))
_NOTHING = tracemalloc.Snapshot((), 1)


class AllocationSite(NamedTuple):
    """A line of code, and the bytes and blocks that it allocated and that are still in use."""

    file: str
    line: int
    size: int
    blocks: int


class Allocations(NamedTuple):
    """The bytes of all lines together, and those with the most of them."""

    size: int
    sites: list[AllocationSite]


class Tracing:
    """Traces what the process allocates, until it is closed or nobody knows it any more."""

    __slots__ = ("_before",)

    def __init__(self) -> None:
        global _is_ours
        with _lock:
            _open.add(id(self))
            is_traced = tracemalloc.is_tracing()
            if not is_traced:
                _is_ours = True
                tracemalloc.start()
        self._before = tracemalloc.take_snapshot() if is_traced else _NOTHING

    def close(self) -> Allocations | None:
        """What was allocated; None where the program, or a fork, has ended the tracing meanwhile."""
        try:
            return self._found() if id(self) in _open else None
        except RuntimeError as error:
            raise_interrupt(error)
            return None
        finally:
            self._let_go()

    def _found(self) -> Allocations:
        changes = tracemalloc.take_snapshot().compare_to(self._before, "lineno")
        sites = [_site(change) for change in changes if change.size_diff > 0]
        sites = [site for site in sites if not site.file.startswith(_OWN)]
        highest = sorted(sites, key=lambda site: site.size, reverse=True)
        return Allocations(sum(site.size for site in sites), highest[:MOST_SITES])

    def _let_go(self) -> None:
        global _is_ours
        with _lock:
            _open.discard(id(self))
            if _is_ours and not _open:
                _is_ours = False
                tracemalloc.stop()

    def __del__(self) -> None:
        self._let_go()


def _site(change: tracemalloc.StatisticDiff) -> AllocationSite:
    frame = change.traceback[0]
    return AllocationSite(frame.filename, frame.lineno, change.size_diff, change.count_diff)


_lock = RLock()
_open: set[int] = set()
_is_ours = False


@_forks.in_child
def _forked() -> None:
    global _lock, _is_ours
    _lock = RLock()
    _open.clear()
    if _is_ours:
        _is_ours = False
        tracemalloc.stop()
