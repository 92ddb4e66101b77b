"""Exceptions of signal handlers, such as time-outs. They belong to the program, wherever they come.

Whoever catches the errors of a reading, of a file or of foreign code asks here first.
"""

from __future__ import annotations

from types import CodeType, TracebackType
from typing import Any


def raise_interrupt(error: BaseException) -> None:
    """Raise `error` again if a handler that `signal.signal` was given has raised it.

    A handler may raise any class. `TimeoutError`, for one, is an `OSError`.
    """
    if is_of_signal_handler(error):
        try:
            raise error
        finally:
            del error  # else its own traceback would keep it, and what the interrupted calls hold


def is_of_signal_handler(error: BaseException) -> bool:
    """Whether a frame of the error's traceback is that of a signal handler."""
    handlers = _codes_of_handlers()
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code in handlers:
            return True
        trace = trace.tb_next
    return False


def _codes_of_handlers() -> set[CodeType]:
    import signal  # only where something failed

    handlers = (signal.getsignal(number) for number in signal.valid_signals())
    return {code for handler in handlers for code in _codes(handler)}


def _codes(handler: Any) -> set[CodeType]:
    """The code that runs when a handler is called: a function, a method, a partial, an object."""
    handler = getattr(handler, "func", handler)
    called = (handler, getattr(handler, "__func__", None), getattr(type(handler), "__call__", None))  # noqa: B004
    found = (getattr(each, "__code__", None) for each in called)
    return {code for code in found if isinstance(code, CodeType)}
