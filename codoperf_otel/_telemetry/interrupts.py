"""Exceptions of signal handlers, such as time-outs. They belong to the program, wherever they come.

Whoever catches the errors of a reading, of a file or of foreign code asks here first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import CodeType, FrameType, TracebackType
from typing import Any, cast

_traceback = cast(
    "Callable[[BaseException], TracebackType | None]", vars(BaseException)["__traceback__"].__get__
)
_context = cast("Callable[[BaseException], BaseException | None]", vars(BaseException)["__context__"].__get__)
"""What the interpreter has noted; a class of the program's own may say something else, or fail."""


def raise_interrupt(error: BaseException) -> None:
    """Raise what a handler of `signal.signal` has raised: `error`, or an error that `error` was made of.

    A handler may raise any class. `TimeoutError`, for one, is an `OSError`, of which other libraries make
    errors of their own.
    """
    for interrupt in filter(is_of_signal_handler, _made_of(error)):
        context = _context(interrupt)
        try:
            raise interrupt
        finally:
            interrupt.__context__ = context
            del error, interrupt  # else its own traceback would keep it, and what the interrupted calls hold


def _made_of(error: BaseException) -> Iterable[BaseException]:
    """An error and those that it was made of; none that a caller of ours is dealing with meanwhile."""
    callers = set(_callers(_traceback(error)))
    found = {id(error): error}
    each = _context(error)
    while each is not None and (trace := _traceback(each)) is not None and id(each) not in found:
        if trace.tb_frame in callers:
            break
        found[id(each)] = each
        each = _context(each)
    return found.values()


def _callers(trace: TracebackType | None) -> Iterator[FrameType]:
    """The frames around the one that has caught an error."""
    frame = None if trace is None else trace.tb_frame.f_back
    while frame is not None:
        yield frame
        frame = frame.f_back


def is_of_signal_handler(error: BaseException) -> bool:
    """Whether a frame below the one that has caught the error is that of a signal handler."""
    codes = set(_codes_below(_traceback(error)))
    return bool(codes) and not codes.isdisjoint(_codes_of_handlers())


def _codes_below(trace: TracebackType | None) -> Iterator[CodeType]:
    while trace is not None and (trace := trace.tb_next) is not None:
        yield trace.tb_frame.f_code


def _codes_of_handlers() -> set[CodeType]:
    import signal  # only where something failed

    handlers = map(signal.getsignal, range(1, signal.NSIG))  # in half the time of `valid_signals`
    return {code for handler in handlers for code in _codes(handler)}


def _codes(handler: Any) -> set[CodeType]:
    """The code that runs when a handler is called: a function, a method, a partial, an object."""
    if not callable(handler):  # `SIG_DFL`, whose type is called as every enum is
        return set()
    handler = getattr(handler, "func", handler)
    called = (handler, getattr(handler, "__func__", None), getattr(type(handler), "__call__", None))  # noqa: B004
    found = (getattr(each, "__code__", None) for each in called)
    return {code for code in found if isinstance(code, CodeType)}
