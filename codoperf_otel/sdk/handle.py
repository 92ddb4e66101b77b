"""The handle that `configure` returns: flush, shutdown, and the count of what was lost."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from types import TracebackType
from typing import Protocol

from codoperf_otel._calls.interrupted import end_open_spans
from codoperf_otel._once import Once
from codoperf_otel.sdk.errors import Destination

log = logging.getLogger("codoperf_otel.sdk")

GRACE = 1.0
"""Seconds that the end of the program waits for an endpoint that has been failing."""

_POLL = 0.02
_CLEAN_UP = 0.1

# Python 3.12 starts no thread while it ends, so there they are started ahead, and wait
_ENDS_WITHOUT_NEW_THREADS = sys.version_info[:2] == (3, 12)


class Part(Protocol):
    """A provider, a processor or a reader."""

    def force_flush(self, timeout_millis: int, /) -> object:
        """Send what there is."""

    def shutdown(self) -> object:
        """Send what there is and end."""


class Guarded(Protocol):
    """An exporter under guard."""

    @property
    def destination(self) -> Destination:
        """Where it sends to."""
        ...

    @property
    def is_busy(self) -> bool:
        """True while it exports."""
        ...

    def flush(self, seconds: float) -> bool:
        """Send what it holds back, if anything."""
        ...

    def close(self) -> None:
        """End the exporter and its retries."""


class Handle:
    """What `configure` set up. Leaving its ``with`` block shuts it down, as does the end of the program."""

    def __init__(
        self,
        timeout: float,
        parts: Sequence[Part] = (),
        guards: Sequence[Guarded] = (),
        endings: Sequence[Callable[[], object]] = (),
        afterwards: Sequence[Callable[[], object]] = (),
    ) -> None:
        """`endings` are done first at the shutdown, `afterwards` last; both take no time."""
        self._timeout = timeout
        self._endings = endings
        self._afterwards = afterwards
        self._is_first_shutdown = Once()
        self._work: _SideBySide | None = None
        self.set_parts(parts, guards)

    def set_parts(self, parts: Sequence[Part], guards: Sequence[Guarded]) -> None:
        """Take over these parts; a forked child has its own."""
        self._parts = parts
        self._guards = guards
        self._waiting = _SideBySide([part.shutdown for part in parts]) if _ENDS_WITHOUT_NEW_THREADS else None
        self._known_losses = self._losses()

    @property
    def is_running(self) -> bool:
        """False once it is shut down."""
        return not self._is_first_shutdown.is_done

    @property
    def failures(self) -> dict[str, int]:
        """How many exports each endpoint has not taken, by its address."""
        return {guard.destination.label: guard.destination.failures for guard in self._guards}

    def _losses(self) -> int:
        return sum(destination.lost_items.total for destination in {g.destination for g in self._guards})

    def force_flush(self, timeout: float = 10.0) -> bool:
        """Send what there is now; True if all of it arrived within `timeout` seconds, and nothing was lost.

        It is False, too, for what was dropped since the last call. Once it is shut down there is nothing left
        to send, and this is True.
        """
        if not self.is_running:
            return True
        work = self._flushing(timeout)
        work.go()
        deadline = time.monotonic() + timeout
        done = work.wait(timeout) and not work.failed
        done = all(guard.flush(max(0.0, deadline - time.monotonic())) for guard in self._guards) and done
        before, self._known_losses = self._known_losses, self._losses()
        return done and before == self._known_losses

    def shutdown(self) -> None:
        """Send what there is and end. Only the first call does anything.

        It takes ``shutdown_timeout`` seconds at most, and one second where an endpoint is not to be reached.
        """
        if self._is_first_shutdown():
            self._end(self._shutting_down(), self._timeout)

    def end_with_process(self) -> None:
        """Shut down at the end of the process, which interrupts the calls that still run."""
        if self._is_first_shutdown():
            end_open_spans()
            self._end(self._shutting_down(), self._timeout)

    def end_within(self, seconds: float) -> None:
        """The same where the process ends at once: no other thread is relied on to come to its end.

        A shutdown that is under way is waited for.
        """
        if self._is_first_shutdown():
            end_open_spans()
            try:
                work = self._flushing(seconds)
            except RuntimeError:  # the interpreter ends
                work = self._shutting_down()
            self._end(work, min(seconds, self._timeout))
        elif self._work is not None:
            self._work.go()
            self._work.wait(seconds)

    def longest_flush(self, seconds: float) -> float:
        """How long a server's end may wait, where an endpoint is waited for so many seconds.

        Files keep nobody waiting but on a busy machine, so they have the whole ``shutdown_timeout``.
        """
        has_endpoint = any(guard.destination.is_endpoint for guard in self._guards)
        return min(seconds, self._timeout) if has_endpoint else self._timeout

    def _shutting_down(self) -> _SideBySide:
        return self._waiting or _SideBySide([part.shutdown for part in self._parts])

    def _flushing(self, seconds: float) -> _SideBySide:
        return _SideBySide([partial(part.force_flush, int(seconds * 1000)) for part in self._parts])

    def _end(self, work: _SideBySide, seconds: float) -> None:
        self._work = work
        for end in self._endings:
            end()
        self._wait(work, seconds)
        for end in self._afterwards:
            end()

    def _wait(self, work: _SideBySide, seconds: float) -> None:
        began = time.monotonic()
        work.go()
        while not work.wait(_POLL) and (elapsed := time.monotonic() - began) < seconds:
            for guard in self._guards:
                if elapsed >= GRACE and guard.destination.failing:
                    guard.close()
        for guard in self._guards:
            if guard.is_busy:
                guard.destination.trouble(
                    f"no answer within the {seconds:g} s that the program's end may take"
                )
            guard.close()
        work.wait(_CLEAN_UP)

    def __enter__(self) -> Handle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown()


class _SideBySide:
    """Jobs that run in threads of their own, from `go` on."""

    def __init__(self, jobs: Sequence[Callable[[], object]]) -> None:
        self.failed = False
        self._go: SimpleQueue[None] = SimpleQueue()  # a signal handler may come while it is put to
        self._threads = [
            threading.Thread(target=self._run, args=(job,), name="codoperf-flush", daemon=True)
            for job in jobs
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, job: Callable[[], object]) -> None:
        self._go.get()
        try:
            job()
        except Exception:
            self.failed = True
            log.warning("Telemetry could not be flushed", exc_info=True)

    def go(self) -> None:
        """Begin; more than once does nothing."""
        for _ in self._threads:
            self._go.put(None)

    def wait(self, seconds: float) -> bool:
        """Wait for all jobs to end; False if that takes longer."""
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)
