"""The thread that sends what is in the spool: this process's, and what ended processes have left."""

from __future__ import annotations

import threading
import time

from codoperf_otel._telemetry.interrupts import raise_interrupt
from codoperf_otel.sdk.spool.delivery import Delivery
from codoperf_otel.sdk.spool.records import Record
from codoperf_otel.sdk.spool.segments import Segment
from codoperf_otel.sdk.spool.senders import Answer
from codoperf_otel.sdk.spool.writer import Writer
from codoperf_otel.sdk.suppression import suppressed

_LOOK_AGAIN = 5.0  # seconds until it looks for what other processes have left
_FIRST_PAUSE, _LONGEST_PAUSE, _LONGEST_ASKED_FOR = 0.5, 10.0, 300.0
_POLL = 0.01


class Courier:
    """Sends the records of one signal."""

    def __init__(self, writer: Writer, delivery: Delivery) -> None:
        self._writer = writer
        self._delivery = delivery
        self._bell = threading.Lock()
        self._is_ending = False
        self._failed_rounds = 0
        self._pause = 0.0
        self._thread = threading.Thread(target=self._run, name="codoperf-spool", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # while Python 3.12 and later end; `drain` does it then
            raise_interrupt(error)

    def ring(self) -> None:
        """There is something to send; it waits while the endpoint does not answer."""
        if not self._pause:
            self._wake()

    def _wake(self) -> None:
        """End the thread's pause. Threads and signal handlers may do so at any time."""
        try:
            self._bell.release()
        except RuntimeError as error:  # somebody else has just done it
            raise_interrupt(error)

    def _run(self) -> None:
        while not self._is_ending:
            self._bell.acquire(timeout=self._pause or _LOOK_AGAIN)
            self._note(self._safe_round())

    def _safe_round(self) -> Answer | None:
        try:
            with suppressed():
                return self._round()
        except Exception as error:
            raise_interrupt(error)
            return Answer.of_error(error)

    def _note(self, stopped: Answer | None) -> None:
        destination = self._writer.destination
        if stopped is None:
            self._pause = 0.0
            return
        destination.trouble(stopped.reason)
        longer = min(max(self._pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
        self._pause = min(stopped.seconds or longer, _LONGEST_ASKED_FOR)
        self._failed_rounds += 1

    def _round(self) -> Answer | None:
        """Send all there is, the oldest first; returns the answer that stopped it."""
        for segment in self._writer.folder.orphans(self._writer.signal):
            if stopped := self._delivery.empty(segment):
                return stopped
        return self._send_memory() or self._send_own()

    def _send_memory(self) -> Answer | None:
        def forget(batch: list[Record]) -> None:
            for record in batch:
                self._writer.forget_in_memory(record)

        return self._delivery.send(list(self._writer.in_memory), forget)

    def _send_own(self) -> Answer | None:
        """Send what this process is writing; without the lock, the descriptor may be another file's."""
        writer = self._writer
        segment, unsent = writer.alone(self._take_own)
        if segment is None:
            return None
        try:
            return self._delivery.send(unsent, lambda batch: segment.note_sent(batch[-1].end))
        finally:
            writer.alone(lambda: self._let_go(segment))

    def _take_own(self) -> tuple[Segment | None, list[Record]]:
        self._writer.being_sent = segment = self._writer.segment
        return segment, [] if segment is None else list(segment.unsent())

    def _let_go(self, segment: Segment) -> None:
        self._writer.being_sent = None
        if segment is not self._writer.segment:
            segment.close()
        elif segment.is_sent:
            segment.begin_anew()

    def drain(self, seconds: float) -> bool:
        """Send what there is; False where that takes longer, or the endpoint does not take it."""
        deadline, failed = time.monotonic() + seconds, self._failed_rounds
        if not self._thread.is_alive():
            self._note(self._safe_round())
        self._wake()
        while not self._writer.is_empty:
            if self._failed_rounds > failed or time.monotonic() > deadline:
                return False
            time.sleep(_POLL)
        return True

    def end(self, seconds: float) -> None:
        """Send what can be sent in that time. The rest stays on disk."""
        self.drain(seconds)
        self._is_ending = True
        self._wake()
        if self._thread.is_alive():
            self._thread.join(_POLL)
