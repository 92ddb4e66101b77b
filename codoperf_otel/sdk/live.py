"""The listening side of this process, where it is to be asked while it runs. A forked child has its own."""

from __future__ import annotations

import logging
from pathlib import Path

from codoperf_otel._live.listener import Listener
from codoperf_otel._telemetry.interrupts import raise_interrupt
from codoperf_otel.sdk.private_files import prepare

log = logging.getLogger("codoperf_otel.live")


class Live:
    """Listens from the time that it is made. What keeps it from that is one warning."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._listener: Listener | None = None
        self._listen()

    def begin_anew(self) -> None:
        """Listen for a forked child, and leave its parent's socket alone."""
        inherited, self._listener = self._listener, None
        if inherited is not None:
            inherited.let_go()
        self._listen()

    def end(self) -> None:
        """Listen no more."""
        if self._listener is not None:
            self._listener.stop()

    def _listen(self) -> None:
        try:
            prepare(self._folder)
            self._listener = Listener(self._folder)
        except (OSError, RuntimeError) as error:
            raise_interrupt(error)
            log.warning("nobody can ask this process in %s: %s", self._folder, error)
