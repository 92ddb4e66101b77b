"""The one driver of every monitored call: function, coroutine, generator, async generator, `with` scope.

A call runs in segments: one for a function, one between two suspensions for the others. A segment
begins with `_resume` and ends with `_pause`; the Context is attached and the thread's slot taken only
in between, so nothing of a suspended call is left where others run.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextvars import Token
from time import perf_counter_ns
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, cast

from opentelemetry.context import Context, attach, detach, get_current

from codoperf_otel._context import Loan, Record, record_in, running_task, slot, switch
from codoperf_otel._recording import Site, begin, finish

P = ParamSpec("P")
R = TypeVar("R")
Function = Callable[..., Any]
Attached = Token[Context] | None


def _resume(record: Record) -> Attached:
    """Begin a segment: what ran at the last pause runs again."""
    token = attach(record.context) if record.context is not None else None
    record.outer = switch(record.inner or record)
    record.entered = slot.since
    return token


def _pause(record: Record, token: Attached) -> None:
    """End a segment."""
    inner = switch(record.outer)
    record.cpu_ns += slot.since - record.entered  # type: ignore[operator]  # a driven call always has a clock
    record.inner = inner if inner is not record else None
    record.outer = None
    if token is not None:
        detach(token)


def _suspend(record: Record, token: Attached) -> None:
    """End a segment that another may follow: a span the code holds open now is current again then."""
    if token is not None:
        record.context = get_current()
    _pause(record, token)
    record.left = perf_counter_ns()


def _return_to(record: Record) -> Attached:
    """Begin a segment after a suspension."""
    record.suspended_ns += perf_counter_ns() - record.left
    return _resume(record)


def _function(func: Function, site: Site) -> Function:
    @functools.wraps(func)
    def monitored(*args: Any, **kwargs: Any) -> Any:
        record = begin(site)
        token = _resume(record)
        try:
            result = func(*args, **kwargs)
        except BaseException as error:
            _pause(record, token)
            finish(site, record, error)
            raise
        _pause(record, token)
        finish(site, record)
        return result

    return monitored


@types.coroutine
def _steps(awaitable: Any, record: Record, token: Attached) -> Generator[Any, Any, Any]:
    """Drive an awaitable's steps, each a segment of the record; the first one is begun by the caller."""
    step, value = awaitable.send, None
    while True:
        try:
            item = step(value)
        except StopIteration as stop:
            _suspend(record, token)
            return stop.value
        except BaseException:
            _pause(record, token)
            raise
        finally:
            value = None  # a thrown exception that is kept here would keep this frame
        _suspend(record, token)
        try:
            value = yield item
            step = awaitable.send
        except BaseException as thrown:
            step, value = awaitable.throw, thrown
        token = _return_to(record)


def _coroutine_function(func: Function, site: Site) -> Function:
    @functools.wraps(func)
    async def monitored(*args: Any, **kwargs: Any) -> Any:
        coroutine = func(*args, **kwargs)
        record = begin(site)
        try:
            result = await _steps(coroutine, record, _resume(record))
        except BaseException as error:
            finish(site, record, error)
            raise
        finish(site, record)
        return result

    return monitored


def _generator_function(func: Function, site: Site) -> Function:
    @functools.wraps(func)
    def monitored(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        generator = func(*args, **kwargs)
        record = begin(site)
        token = _resume(record)
        step, value = generator.send, None
        while True:
            try:
                item = step(value)
            except StopIteration as stop:
                _pause(record, token)
                finish(site, record)
                return stop.value
            except BaseException as error:
                _pause(record, token)
                finish(site, record, error)
                raise
            finally:
                value = None
            _suspend(record, token)
            record.yielded += 1
            try:
                value = yield item
                step = generator.send
            except BaseException as thrown:
                step, value = generator.throw, thrown
            token = _return_to(record)

    return monitored


def _async_generator_function(func: Function, site: Site) -> Function:
    @functools.wraps(func)
    async def monitored(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        generator = func(*args, **kwargs)
        record = begin(site)
        token = _resume(record)
        step, value = generator.asend, None
        while True:
            try:
                item = await _steps(step(value), record, token)
            except StopAsyncIteration:
                finish(site, record)
                return
            except BaseException as error:
                finish(site, record, error)
                raise
            finally:
                value = None
            record.yielded += 1
            try:
                value = yield item
                step = generator.asend
            except BaseException as thrown:
                step, value = generator.athrow, thrown
            token = _return_to(record)

    return monitored


_KINDS: tuple[tuple[Callable[[Any], bool], Callable[[Function, Site], Function]], ...] = (
    (inspect.iscoroutinefunction, _coroutine_function),
    (inspect.isasyncgenfunction, _async_generator_function),
    (inspect.isgeneratorfunction, _generator_function),
)


def monitored(func: Callable[P, R], make_site: Callable[[Function], Site]) -> Callable[P, R]:
    """`func`, whatever its kind, with each call of it recorded as one of the site made for it."""
    if isinstance(func, classmethod | staticmethod):
        return cast("Callable[P, R]", type(func)(monitored(func.__func__, make_site)))
    wrap = next((wrap for is_kind, wrap in _KINDS if is_kind(func)), _function)
    return wrap(func, make_site(func))


class Scope:
    """A block of code recorded as one call: ``with`` and ``async with`` alike."""

    def __init__(self, site: Site, attributes: Mapping[str, Any] | None = None) -> None:
        self._site = site
        self._attributes = attributes
        self._open: list[Record] = []

    def __enter__(self) -> Self:
        record = begin(self._site, self._attributes)
        record.scope = self
        self._open.append(record)
        if record.context is not None:
            attach(record.context)
        _open_clock(record)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        record = self._leave()
        _close_clock(record)
        finish(self._site, record, error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def _leave(self) -> Record:
        """Take the record of this block off the Context, where it still is on it."""
        record = record_in(get_current())
        while record is not None and record not in self._open:
            record = record.parent
        if record is None:
            return self._open.pop()
        self._open.remove(record)
        attach(record.outer_context)
        return record


def _clock(driver: Record | Loan) -> int:
    """The CPU time of a driven call up to the last switch."""
    return cast("int", driver.cpu_ns) + slot.since - driver.entered


def _open_clock(record: Record) -> None:
    """Let the block's CPU time be that of the driven call around it, else of the thread.

    In a task that no driven call encloses the thread also runs others: there is no figure then.
    """
    around = slot.record
    if around is None:
        known = record.task is None
    else:
        known = around.task is record.task
        record.driver = around if around.scope is None else around.driver
    if not known:
        record.cpu_ns = record.driver = None
        return
    record.outer = switch(record)
    record.entered = _clock(record.driver) if record.driver is not None else slot.since


def _close_clock(record: Record) -> None:
    if record.cpu_ns is None:
        return
    if slot.record is not record or record.task is not running_task():
        record.cpu_ns = None  # left elsewhere than it was entered
        return
    switch(record.outer)
    now = _clock(record.driver) if record.driver is not None else slot.since
    record.cpu_ns = now - record.entered
    record.outer = record.driver = None
