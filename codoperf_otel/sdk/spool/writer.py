"""Appends to the spool. A record is on disk when `append` returns, or in memory where the disk fails."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from threading import RLock, get_ident
from typing import TypeVar

from codoperf_otel._telemetry import names
from codoperf_otel._telemetry.interrupts import raise_interrupt
from codoperf_otel.sdk.errors import Destination
from codoperf_otel.sdk.outputs import Signal
from codoperf_otel.sdk.spool import records
from codoperf_otel.sdk.spool.folder import Folder
from codoperf_otel.sdk.spool.records import Record
from codoperf_otel.sdk.spool.segments import Segment

T = TypeVar("T")

MOST_IN_MEMORY = 8 << 20
"""Bytes that wait in memory while the disk takes none."""


class Writer:
    """One signal's way into the spool, for one process.

    Threads that append at the same time share one write: who has the lock writes what others have left.
    """

    def __init__(self, folder: Folder, signal: Signal, destination: Destination) -> None:
        self.folder = folder
        self.signal: Signal = signal
        self.destination = destination
        self._lock = RLock()
        self.segment: Segment | None = None
        self.being_sent: Segment | None = None
        self.in_memory: deque[Record] = deque()
        self._left: deque[tuple[bytes, int]] = deque()
        self._writing = 0
        self._memory_bytes = 0

    def append(self, payload: bytes, items: int) -> None:
        """Put a request into the spool; where there is no room, it is counted as dropped."""
        self._left.append((payload, items))
        if self._writing == get_ident():
            return  # a signal handler's or a finalizer's: what it interrupts takes it along
        self.alone(lambda: None)

    def alone(self, work: Callable[[], T]) -> T:
        """Do some work while no other thread has the file; what was left meanwhile is written at the end.

        The work is handed over: what a signal handler raises in the end of a generator may be lost.
        """
        with self._lock:
            before = self._writing
            try:
                self._writing = get_ident()
                done = work()
                self._write_all()
                return done
            finally:
                self._writing = before

    def _write_all(self) -> None:
        while self._left:
            batch = list(self._left)
            try:
                self._write(b"".join(records.encoded(*each) for each in batch))
            except OSError as error:
                raise_interrupt(error)
                self.destination.trouble(f"the spool cannot be written: {error.strerror or error}")
                for payload, items in batch:
                    self._keep(payload, items)
            for _ in batch:  # only now: what an interrupt leaves is written by the next
                self._left.popleft()

    def _write(self, data: bytes) -> None:
        segment = self.segment
        if segment is None or not segment.is_there or segment.end + len(data) > self.folder.segment_bytes:
            self._part_with(segment)
            self.folder.trim(self.destination, max(len(data), self.folder.segment_bytes))
            self.segment = segment = Segment.new(self.folder.path, self.signal)
        segment.write(data)

    def _part_with(self, segment: Segment | None) -> None:
        """Whoever is there may send it from now on; one that is being sent is closed by who does."""
        self.segment = None
        if segment is not None and segment is not self.being_sent:
            segment.close()

    def _keep(self, payload: bytes, items: int) -> None:
        if self._memory_bytes + len(payload) > MOST_IN_MEMORY:
            self.destination.lost(self.signal, names.SPOOL_FULL, items)
            return
        self._memory_bytes += len(payload)
        self.in_memory.append(Record(payload, items, 0))

    def forget_in_memory(self, record: Record) -> None:
        """The oldest record in memory was delivered."""
        self.in_memory.popleft()
        self._memory_bytes -= len(record.payload)

    @property
    def is_empty(self) -> bool:
        """Whether all that was appended here has been delivered."""
        segment = self.segment
        is_sent = segment is None or segment.is_sent
        return is_sent and not (self._left or self.in_memory or self._has_others(segment))

    def _has_others(self, segment: Segment | None) -> bool:
        """Whether there are full files that this process has written."""
        mine = f"-{os.getpid()}-"
        found = (path for path in self.folder.paths(self.signal) if mine in path.name)
        return any(segment is None or path != segment.path for path in found)

    def close(self) -> None:
        """Let others have what is left; what is in memory only is lost."""
        self.alone(self._close)
        while self.in_memory:
            self.destination.lost(self.signal, names.SPOOL_FULL, self.in_memory.popleft().items)

    def _close(self) -> None:
        self._write_all()
        if self.segment is not None and self.segment.is_sent and self.segment is not self.being_sent:
            self.segment.remove()
        self._part_with(self.segment)
