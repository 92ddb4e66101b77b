"""From records on disk to requests, and what becomes of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from codoperf_otel._telemetry import names
from codoperf_otel.sdk.errors import Destination
from codoperf_otel.sdk.outputs import Signal
from codoperf_otel.sdk.spool.records import Record
from codoperf_otel.sdk.spool.segments import Segment
from codoperf_otel.sdk.spool.senders import Answer, Outcome

MOST_BYTES = 1 << 20
"""Of a request. OTLP messages that follow each other are one message, so several records are sent at once."""


class Delivery:
    """Sends the records of one signal, each until it is delivered or refused for good."""

    def __init__(self, signal: Signal, destination: Destination, send: Callable[[bytes], Answer]) -> None:
        self._signal: Signal = signal
        self._destination = destination
        self._send = send
        self.items = 0

    def empty(self, segment: Segment) -> Answer | None:
        """Send what is left in a segment, and remove it; returns the answer that stopped it."""
        try:
            if stopped := self.send(segment.unsent(), lambda batch: segment.note_sent(batch[-1].end)):
                return stopped
            segment.remove()
            return None
        finally:
            segment.close()

    def send(self, unsent: Iterable[Record], note: Callable[[list[Record]], object]) -> Answer | None:
        """Send records; `note` is called with those that are done. Returns the answer that stopped it."""
        for batch in _batches(unsent):
            answer = self._send_batch(batch)
            if answer.outcome is Outcome.LATER:
                return answer
            note(batch)
        return None

    def _send_batch(self, batch: list[Record]) -> Answer:
        with self._destination.sending():
            answer = self._send(b"".join(record.payload for record in batch))
        if answer.outcome is Outcome.REFUSED:
            return self._send_parts(batch, answer)
        if answer.outcome is Outcome.DELIVERED:
            self._destination.sent()
            self.items += sum(record.items for record in batch) - answer.rejected
            if answer.rejected:
                self._destination.lost(self._signal, names.REJECTED, answer.rejected)
        return answer

    def _send_parts(self, batch: list[Record], answer: Answer) -> Answer:
        """One bad record loses no other."""
        if len(batch) == 1:
            self._destination.trouble(answer.reason)
            self._destination.lost(self._signal, names.REJECTED, batch[0].items)
            return answer
        half = len(batch) // 2
        first = self._send_batch(batch[:half])
        return first if first.outcome is Outcome.LATER else self._send_batch(batch[half:])


def _batches(unsent: Iterable[Record]) -> Iterator[list[Record]]:
    batch: list[Record] = []
    size = 0
    for record in unsent:
        if batch and size + len(record.payload) > MOST_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += len(record.payload)
    if batch:
        yield batch
