"""What ends a call, where an exception of it reaches the caller."""

from __future__ import annotations

from collections.abc import Callable

from codoperf_otel._calls.call import Call
from codoperf_otel._calls.recording import finish
from codoperf_otel._calls.sites import Site
from codoperf_otel._calls.thread_clock import ThreadClock


def finisher(site: Site) -> Callable[..., None]:
    """What ends the calls of a site."""
    return finish if site.budget is None else _finish_within_budget


def _finish_within_budget(call: Call, clock: ThreadClock, error: BaseException | None = None) -> None:
    """End a run that has a budget of its own.

    Raises:
        BudgetExceeded: it is to be raised, and more was used; that is the run's error then. A run that has
            an error already keeps it.
    """
    try:
        if call.is_running and call.invocation is not None:
            call.invocation.look(raises=error is None)
    except Exception as exceeded:
        finish(call, clock, exceeded)
        raise
    finish(call, clock, error)
