"""What is let go of where an exception has left a call. That of a signal handler may have cut it off."""

from __future__ import annotations

from codoperf_otel._calls import late_events
from codoperf_otel._calls.call import Call


def drop(call: Call | None) -> None:
    """Let nothing go on that a call, if it has begun, has begun. Nothing is left to do if it has ended."""
    if call is None:
        return
    call.site_for_agent.cell.active.discard(call)
    call.open_meters = None
    late_events.waiting.pop(call, None)
    if call.invocation is not None:
        call.invocation.ended(call)
