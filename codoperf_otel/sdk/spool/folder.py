"""The folder of one endpoint's spool, which processes share: its files, their size and their age."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from codoperf_otel._once import OncePerKey
from codoperf_otel._telemetry import names
from codoperf_otel._telemetry.interrupts import raise_interrupt
from codoperf_otel.sdk.errors import Destination
from codoperf_otel.sdk.outputs import Signal
from codoperf_otel.sdk.spool.segments import Segment, parsed

LARGEST_SEGMENT = 4 << 20

log = logging.getLogger("codoperf_otel.sdk")
_is_first_refusal = OncePerKey()


@dataclass(frozen=True)
class Folder:
    """A folder of segments: at most so many bytes, none older than so many seconds."""

    path: Path
    most_bytes: float
    most_seconds: float

    @property
    def segment_bytes(self) -> float:
        """How large a segment grows before the next one begins."""
        return min(LARGEST_SEGMENT, self.most_bytes / 8)

    def paths(self, signal: Signal | None = None) -> list[Path]:
        """The segments, of one signal or of all, from the oldest to the newest."""
        named = [(name, path) for path in self._files() if (name := parsed(path))]
        found = [(name.began_ns, path) for name, path in named if signal in (None, name.signal)]
        return [path for _, path in sorted(found)]

    def _files(self) -> Iterator[Path]:
        try:
            yield from self.path.iterdir()
        except FileNotFoundError:
            return

    def orphans(self, signal: Signal | None = None) -> Iterator[Segment]:
        """The segments that no process writes or sends, each to be closed or removed."""
        for path in self.paths(signal):
            segment = _taken(path)
            if segment is not None:
                yield segment

    def trim(self, destination: Destination, coming: float) -> None:
        """Drop what is too old, and then the oldest until there is room; what is dropped is counted."""
        found = [(path, self._still_wanted(path, destination)) for path in self.paths()]
        sizes = {path: stat.st_size for path, stat in found if stat is not None}
        total = sum(sizes.values()) + coming
        for path, size in sizes.items():
            if total > self.most_bytes and _drop(path, destination, names.SPOOL_FULL):
                total -= size

    def _still_wanted(self, path: Path, destination: Destination) -> os.stat_result | None:
        try:
            found = path.stat()
        except FileNotFoundError:
            return None
        is_old = time.time() - found.st_mtime > self.most_seconds
        return None if is_old and _drop(path, destination, names.SPOOL_EXPIRED) else found


def _taken(path: Path) -> Segment | None:
    try:
        segment = Segment.existing(path)
        if segment.is_there:
            return segment
        segment.close()
    except PermissionError as error:
        raise_interrupt(error)
        if _is_first_refusal(path):
            log.warning("the spool leaves a file where it is: %s", error)
    except OSError as error:  # another process has it, or was faster
        raise_interrupt(error)
    return None


def _drop(path: Path, destination: Destination, reason: str) -> bool:
    """Whether the segment was dropped: one that is being written or sent is not."""
    segment, name = _taken(path), parsed(path)
    if segment is None or name is None:
        return False
    lost = sum(record.items for record in segment.unsent())
    segment.remove()
    if lost:
        destination.lost(name.signal, reason, lost)
    return True
