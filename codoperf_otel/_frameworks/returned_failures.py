"""Tools whose exception goes to the model: the framework's function returns, but the call has failed.

The call that is recorded raises the exception. What stands around it takes that back, and returns the result.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any

from codoperf_otel._calls.foreign_code import failed
from codoperf_otel._frameworks.recorded import Describe, recorded
from codoperf_otel._patching.replacing import Replacement

FailureOf = Callable[..., Exception | None]
"""Takes what a framework's function has returned, and its arguments; returns how the tool failed, or None.

What an async generator returns is what it has yielded last.
"""


class ToolError(Exception):
    """A tool that failed, where the framework does not say with what. What it returns is not recorded."""

    __module__ = "builtins"  # so `error.type` is its name alone

    def __init__(self, message: str = "the tool returned an error") -> None:
        super().__init__(message)


class _Outcome:
    """What one call has returned, and how it failed all the same."""

    __slots__ = ("error", "noted", "result", "traceback")

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.noted: Exception | None = None
        self.result: Any = None
        self.traceback: TracebackType | None = None

    def fail(self, error: Exception, result: Any) -> None:
        """Raise the exception for the record."""
        self.error, self.result, self.traceback = error, result, error.__traceback__
        raise error


_END = object()
_current: ContextVar[_Outcome | None] = ContextVar("codoperf_otel_tool", default=None)


def note(error: BaseException) -> None:
    """Note the exception that a framework is about to hand to the model."""
    outcome = _current.get()
    if outcome is not None and isinstance(error, Exception):
        outcome.noted = error


def noted() -> Exception | None:
    """The exception that was noted in this call."""
    outcome = _current.get()
    return None if outcome is None else outcome.noted


def recorded_with_failures(owner: Any, name: str, describe: Describe, failure_of: FailureOf) -> Replacement:
    """The function of that name in a module or class, with each call recorded, also that it has failed."""
    original = vars(owner)[name]
    return Replacement(owner, name, original, with_failures(original, describe, failure_of))


def with_failures(
    original: Callable[..., Any], describe: Describe, failure_of: FailureOf
) -> Callable[..., Any]:
    """A function of a framework with each call recorded, also that it has failed."""
    return _taking_back(original, recorded(_raising(original, failure_of), describe))


def _raising(original: Callable[..., Any], failure_of: FailureOf) -> Callable[..., Any]:
    def checked(result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        outcome, error = _current.get(), None
        try:
            error = failure_of(result, *args, **kwargs)
        except Exception as wrong:
            failed("whether %s has failed is not known", wrong, getattr(original, "__qualname__", ""))
        if outcome is not None and error is not None:
            outcome.fail(error, result)
        return result

    @functools.wraps(original)
    def function(*args: Any, **kwargs: Any) -> Any:
        return checked(original(*args, **kwargs), args, kwargs)

    @functools.wraps(original)
    async def coroutine(*args: Any, **kwargs: Any) -> Any:
        return checked(await original(*args, **kwargs), args, kwargs)

    @functools.wraps(original)
    async def generator(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        last = None
        async for last in original(*args, **kwargs):
            yield last
        checked(last, args, kwargs)

    return _like(original, function, coroutine, generator)


def _taking_back(original: Callable[..., Any], inner: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def function(*args: Any, **kwargs: Any) -> Any:
        outcome = _Outcome()
        with _in_force(outcome):
            outcome.result = inner(*args, **kwargs)
        return outcome.result

    @functools.wraps(original)
    async def coroutine(*args: Any, **kwargs: Any) -> Any:
        outcome = _Outcome()
        with _in_force(outcome):
            outcome.result = await inner(*args, **kwargs)
        return outcome.result

    @functools.wraps(original)
    async def generator(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        outcome, stream = _Outcome(), inner(*args, **kwargs)
        try:
            while True:
                item = _END
                with _in_force(outcome):  # not over a `yield`: what consumes it has the same context
                    item = await anext(stream, _END)
                if item is _END:
                    return
                yield item
        finally:
            await stream.aclose()

    return _like(original, function, coroutine, generator)


def _like(original: Callable[..., Any], *kinds: Callable[..., Any]) -> Callable[..., Any]:
    """Of a function, a coroutine function and an async generator function the one of the original's kind."""
    function, coroutine, generator = kinds
    if inspect.isasyncgenfunction(original):
        return generator
    return coroutine if inspect.iscoroutinefunction(original) else function


@contextmanager
def _in_force(outcome: _Outcome) -> Iterator[None]:
    before = _current.get()
    _current.set(outcome)
    try:
        yield
    except Exception as error:
        if error is not outcome.error:
            raise
        error.__traceback__ = outcome.traceback  # the framework's frames only
    finally:
        _current.set(before)
