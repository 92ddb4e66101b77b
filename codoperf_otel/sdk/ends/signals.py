"""SIGTERM and SIGHUP, where the program leaves it to them to end it."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from _thread import start_new_thread
from importlib import import_module
from types import FrameType

from codoperf_otel.sdk.ends import last_flush

log = logging.getLogger("codoperf_otel.sdk")

_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]

_WITH_LOCKS = (
    "opentelemetry.sdk.",
    "opentelemetry.exporter.",
    "logging.",
    "codoperf_otel.sdk.",
    "codoperf_otel._telemetry.",
    "codoperf_otel._readings.",
    "codoperf_otel._statistics.",
    "codoperf_otel._calls.cells.",
    "codoperf_otel._calls.recording.",
    "codoperf_otel._calls.recorder.",
)
"""Modules whose code may hold a lock that the flush needs. The program's own code does not run within it."""

_PAUSE = 0.005
_MOST_PAUSES = 100

_pauses: list[None] = []

calls = 0
"""How often the main thread has come to the handler. Read it as an attribute of this module."""

_taken_over_in = 0
"""The process that another thread ends: children do not inherit that."""


class _Forking(threading.local):
    """What signals the thread had blocked before it began to fork."""

    def __init__(self) -> None:
        self.masks: list[set[int | signal.Signals]] = []


_forking = _Forking()


def install() -> None:
    """Handle the signals that have the system's default action: it would end the process at once."""
    free = [number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    try:
        for number in free:
            signal.signal(number, end_process)
    except ValueError:
        names = " and ".join(number.name for number in free)
        log.warning("configure() was not called in the main thread: at %s the last telemetry is lost", names)


def remove() -> None:
    """Let the system's default action be taken again. Only the main thread can do so; others leave it."""
    try:
        for number in _SIGNALS:
            if signal.getsignal(number) is end_process:
                signal.signal(number, signal.SIG_DFL)
    except ValueError:
        return


def are_handled() -> bool:
    """Whether the handler stands for any signal."""
    return any(signal.getsignal(number) is end_process for number in _SIGNALS)


def hold_back() -> None:
    """Before a fork: let signals wait. One that a child has before Python has begun anew in it is lost."""
    if are_handled() and last_flush.threads_are_native():
        _forking.masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def let_come() -> None:
    """After a fork, in either process: let those come that have waited."""
    if _forking.masks:
        signal.pthread_sigmask(signal.SIG_SETMASK, _forking.masks[-1])
        _forking.masks.pop()


def end_process(number: int, frame: FrameType | None) -> None:
    """The signal handler: send what is left, then let the signal do what it would have done.

    Where it comes in the midst of code that may hold a lock, it lets that go on and comes again. A handler of
    the program's that calls the one before it decides itself about the end.
    """
    global calls
    calls += 1
    if signal.getsignal(number) is not end_process or _taken_over_in == os.getpid():
        return
    if (_forking.masks or _may_hold_lock(frame)) and _comes_again(number):
        return
    try:
        remove()
        last_flush.flush()
    finally:
        _end(number)


def end_from_another_thread(number: int) -> None:
    """The same where the main thread does not come to the handler."""
    global _taken_over_in
    _taken_over_in = os.getpid()
    try:
        last_flush.flush()
        set_action = import_module("ctypes").pythonapi.PyOS_setsig  # `signal.signal` is the main thread's
        set_action(number, None)
    finally:
        _end(number)


def _end(number: int) -> None:
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # the system does not let a signal end the first process of a container


def _may_hold_lock(frame: FrameType | None) -> bool:
    while frame is not None:
        module = f"{frame.f_globals.get('__name__')}."
        if module.startswith(_WITH_LOCKS) or frame.f_code is threading.Thread.start.__code__:
            return True
        frame = frame.f_back
    return False


def _comes_again(number: int) -> bool:
    """Let the signal come once more after a pause, unless it did so for long enough."""
    if len(_pauses) == _MOST_PAUSES:
        return False
    try:
        start_new_thread(_send_again, (number,))
    except RuntimeError:  # the interpreter ends, or there are too many threads
        return False
    _pauses.append(None)
    return True


def _send_again(number: int) -> None:
    time.sleep(_PAUSE)
    os.kill(os.getpid(), number)
