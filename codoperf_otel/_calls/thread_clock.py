"""The thread's clock: whose code runs on a thread, and since when.

`charge_to` closes the slice of the one and begins the slice of the other, so that every slice of the thread's
CPU time is charged once.
"""

from __future__ import annotations

import sys
import threading
from time import thread_time_ns

from opentelemetry.context import Context

from codoperf_otel import _forks
from codoperf_otel._calls.charged import Charged, still_charged
from codoperf_otel._calls.runtime_context import runtime


class ThreadClock:
    """Who is charged with the CPU time of a thread, and the thread's CPU clock since then.

    `busy` is above 0 while the thread is inside foreign code that this package has called, such as a
    sampler, a processor or the SDK's histogram: a call that begins there is counted, and has no span.
    """

    __slots__ = ("busy", "current", "since_ns")

    def __init__(self) -> None:
        self.current: Charged | None = None
        self.since_ns = 0
        self.busy = 0

    def charge_to(self, following: Charged | None) -> Charged | None:
        """Charge the CPU time up to now to whose code ran, and let `following` be charged from now on.

        Returns who was charged before. `since_ns` is then the clock at the switch.
        """
        now = thread_time_ns()
        before, since = self.current, self.since_ns
        self.since_ns = now
        if before is not None:
            before.self_ns += now - since
        self.current = following
        return before

    def reading(self, driver: Charged | None) -> int:
        """The CPU time of a driven call up to the last switch; without one, the thread's."""
        if driver is None:
            return self.since_ns
        return (driver.cpu_ns or 0) + self.since_ns - driver.entered_ns


def restore(clock: ThreadClock, outer: Charged | None, around: Context) -> None:
    """Put back who was charged and what was current, wherever an exception has left them."""
    outer = still_charged(outer)
    if clock.current is not outer:
        clock.charge_to(outer)
    runtime.attach(around)


def _thread_local() -> type[threading.local]:
    """The interpreter's own `threading.local`. What gevent and eventlet put in its place is per greenlet."""
    found: type[threading.local] = threading.local
    if (monkey := sys.modules.get("gevent.monkey")) is not None:
        found = monkey.get_original("threading", "local")
    if (patcher := sys.modules.get("eventlet.patcher")) is not None and patcher.is_monkey_patched("thread"):
        found = patcher.original("threading").local
    return found


thread_local = _thread_local()


class _Thread(thread_local):  # type: ignore[misc, valid-type]
    def __init__(self) -> None:
        self.clock = ThreadClock()

    def __reduce__(self) -> str:
        """A decorated function goes to another process, where this is what the thread there has."""
        return "thread"


thread = _Thread()
"""What this thread has: its clock."""


@_forks.in_child
def _forked() -> None:
    thread.clock.__init__()  # type: ignore[misc]  # the calls that ran are the parent's
