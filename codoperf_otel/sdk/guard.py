"""The guard around each exporter: it survives forks, counts errors, and can be cut short."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from threading import Lock, RLock
from typing import Generic, Protocol, TypeVar

from codoperf_otel._once import Once
from codoperf_otel._telemetry.interrupts import raise_interrupt
from codoperf_otel.sdk import grpc_forks
from codoperf_otel.sdk.errors import Destination
from codoperf_otel.sdk.outputs import Otlp, Output


class Closable(Protocol):
    """An exporter of any signal."""

    def force_flush(self, timeout_millis: int = ..., /) -> bool:
        """Send what it holds back, if anything."""
        ...

    def shutdown(self) -> object:
        """End it."""


Exporter = TypeVar("Exporter", bound=Closable)
Result = TypeVar("Result")


class Guard(Generic[Exporter]):
    """One exporter: made anew in a forked child, which must not use its parent's connection.

    Exports take turns, but for those to a spool: there callers end on disk themselves, at the same time and
    within each other.
    """

    def __init__(self, output: Output, destination: Destination, make: Callable[[], Exporter]) -> None:
        self.output = output
        self.destination = destination
        self._make: Callable[[], Exporter] = make
        self._is_spooled = isinstance(output, Otlp) and output.spool is not None
        self._busy = self._turn()
        self._opening = RLock()
        self._pid = 0
        self._is_first_close = Once()

    def _turn(self) -> Lock | grpc_forks.Turn:
        if self._is_spooled or not (isinstance(self.output, Otlp) and self.output.protocol == "grpc"):
            return Lock()
        return grpc_forks.Turn(self._cut_short, lambda: self.destination.failing)

    def _cut_short(self) -> None:
        """End the call that it is in. What that carried is lost; the next export makes the exporter anew."""
        self.close()
        self._pid = 0

    def open(self) -> None:
        """Make the exporter now, not at its first export: what is wrong with its settings shows here."""
        self._exporter: Exporter = self._make()
        self._pid = os.getpid()
        self._is_first_close = Once()

    def _open_anew(self) -> None:
        with self._opening:
            if self._pid != os.getpid():
                self.open()

    @property
    def is_busy(self) -> bool:
        """True while it exports."""
        return self._busy.locked()

    def send(self, export: Callable[[Exporter], Result], failure: Result, items: int) -> Result:
        """Let the exporter export so many items; the destination learns what goes wrong."""
        with nullcontext() if self._is_spooled else self._busy, self.destination.sending():
            try:
                if self._pid != os.getpid():
                    self._open_anew()
                result = export(self._exporter)
            except Exception as error:
                raise_interrupt(error)
                self.destination.trouble(f"{type(error).__name__}: {error}")
                result = failure
        if result is failure:
            self.destination.refused(self.output.signal, items)
        elif not self._is_spooled:
            self.destination.sent()
        return result

    def flush(self, seconds: float) -> bool:
        """Send what is in the spool. Other exporters hold nothing back."""
        if not self._is_spooled or self._pid != os.getpid():
            return True
        return self._exporter.force_flush(int(seconds * 1000))

    def close(self) -> None:
        """Shut the exporter down, once; this also ends its retries, and over gRPC the call it is in."""
        if self._is_first_close() and self._pid == os.getpid():
            with self.destination.sending():
                self._exporter.shutdown()

    def inherit(self) -> None:
        """After a fork, in the child: who was exporting is not here."""
        self._busy = self._turn()
        self._opening = RLock()
