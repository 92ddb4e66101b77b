"""Events that are put on a call's span when it ends, as its span cannot be used where they are noted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from opentelemetry.trace import INVALID_SPAN

from codoperf_otel import _forks
from codoperf_otel._calls.call import Call

_MOST_CALLS = 1_000
_MOST_EVENTS = 1_000

waiting: dict[Call, deque[Callable[[Call], None]]] = {}
"""What writes the events of a call, the newest of them: a call may run as long as its program."""


def add(call: Call, write: Callable[[Call], None]) -> None:
    """Let `write` put an event on the span of a call, if it has one, before it ends. Takes no lock."""
    if call.span is INVALID_SPAN or len(waiting) >= _MOST_CALLS:
        return
    waiting.setdefault(call, deque(maxlen=_MOST_EVENTS)).append(write)
    if not call.is_running:  # it has ended, maybe just now on another thread
        waiting.pop(call, None)


def mark(call: Call) -> None:
    """Put the events on the span of a call, which still records."""
    for write in waiting.pop(call, ()):
        write(call)


@_forks.in_child
def _forked() -> None:
    waiting.clear()
