"""One signal of this process: its way into the spool, and on from there."""

from __future__ import annotations

from codoperf_otel.sdk.errors import Destination
from codoperf_otel.sdk.outputs import Otlp, Spool
from codoperf_otel.sdk.private_files import prepare
from codoperf_otel.sdk.spool.courier import Courier
from codoperf_otel.sdk.spool.delivery import Delivery
from codoperf_otel.sdk.spool.folder import Folder
from codoperf_otel.sdk.spool.senders import sender
from codoperf_otel.sdk.spool.writer import Writer

_LONGEST_END = 30.0


class Outlet:
    """One signal of this process: its way into the spool, and on from there.

    Raises:
        OSError: the folder cannot be made, or is another user's.
    """

    def __init__(self, output: Otlp, spool: Spool, destination: Destination) -> None:
        prepare(spool.folder.parent)
        prepare(spool.folder)
        folder = Folder(spool.folder, spool.most_bytes, spool.most_seconds)
        self._writer = Writer(folder, output.signal, destination)
        self._courier = Courier(self._writer, Delivery(output.signal, destination, sender(output)))

    def put(self, payload: bytes, items: int) -> None:
        """Have it on disk, and sent as soon as that can be."""
        self._writer.append(payload, items)
        self._courier.ring()

    def force_flush(self, timeout_millis: float) -> bool:
        """Send what there is."""
        return self._courier.drain(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Send what there is, unless the endpoint does not take it; the rest is there for others to send."""
        self._courier.end(_LONGEST_END)
        self._writer.close()
