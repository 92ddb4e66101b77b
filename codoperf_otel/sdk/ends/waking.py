"""The end of a `multiprocessing` child whose main thread does not come to its signal handlers.

Python calls them between two steps of the main thread's code. A signal that comes just before this thread
begins to wait, or while it is in a long call of a library in C, would find nobody. A pool ends its workers by
SIGTERM and waits for them, so here another thread learns of each signal, too.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from _thread import start_new_thread

from codoperf_otel.sdk.ends import last_flush, signals

_PATIENCE = 0.5
"""Seconds that the main thread has for coming to its handler."""

_MANY = 64

_pipe: tuple[int, int] | None = None


def watch() -> None:
    """Begin to watch, in a child's main thread, unless somebody else is told of signals."""
    global _pipe
    if _pipe is not None or not (_is_child() and signals.are_handled() and last_flush.threads_are_native()):
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    if _is_told(writer):
        _pipe = reader, writer
        start_new_thread(_watch, (reader,))
    else:
        _close(reader, writer)


def leave() -> None:
    """Watch no more. Only the main thread can end it; others leave it."""
    pipe = _taken_off()
    if pipe is not None:
        os.close(pipe[1])  # at which the thread ends


def _is_child() -> bool:
    process = sys.modules.get("multiprocessing.process")
    return hasattr(os, "fork") and process is not None and process.parent_process() is not None


def _is_told(writer: int) -> bool:
    """Let signals be told of there. Only the main thread can, and trio warns where it finds somebody told."""
    try:
        others = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    except ValueError:
        return False
    if others < 0 and "trio" not in sys.modules:
        return True
    signal.set_wakeup_fd(others)
    return False


def _taken_off() -> tuple[int, int] | None:
    """The pipe, which is told of no signal any more."""
    global _pipe
    if _pipe is None:
        return None
    try:
        present = signal.set_wakeup_fd(-1)
    except ValueError:
        return None
    if present not in (_pipe[1], -1):
        signal.set_wakeup_fd(present)  # who has set another one since is told on
    pipe, _pipe = _pipe, None
    return pipe


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _watch(reader: int) -> None:
    while numbers := os.read(reader, _MANY):
        for number in set(numbers):
            if signal.getsignal(number) is signals.end_process:
                _see_to(number)
    os.close(reader)


def _see_to(number: int) -> None:
    """End the process, unless its main thread comes to the handler in time."""
    before = signals.calls
    time.sleep(_PATIENCE)
    if signals.calls == before:
        signals.end_from_another_thread(number)


def _forked() -> None:
    """In a forked child: its parent has the other end, and must not be told of the child's signals."""
    _close(*(_taken_off() or ()))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
