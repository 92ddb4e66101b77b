"""What becomes of an exception of the foreign code that this package calls, such as a sampler."""

from __future__ import annotations

import logging

from codoperf_otel._calls.thread_clock import thread
from codoperf_otel._once import OncePerKey
from codoperf_otel._telemetry.interrupts import raise_interrupt

log = logging.getLogger("codoperf_otel.calls")

_is_first = OncePerKey()


def failed(what: str, error: Exception, operation: str = "") -> None:
    """Log a failure, once for each kind of it. `what` may have ``%s`` for the operation's name.

    A time-out that a signal handler raised is no failure of the foreign code in which it found the thread:
    it is raised again, for it belongs to the program.
    """
    raise_interrupt(error)
    if not _is_first((what, type(error))):
        return
    clock = thread.clock
    before = clock.busy
    clock.busy = 1  # a log handler may call monitored functions
    try:
        said = what.replace("%s", operation)
        log.warning(
            "%s (more such failures are not logged)", said, exc_info=error, extra={"operation": operation}
        )
    except Exception as failure:  # of a log handler
        raise_interrupt(failure)
    finally:
        clock.busy = before
