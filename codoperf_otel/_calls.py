"""The one driver of every monitored call: function, coroutine, generator, async generator.

A call runs in segments: one for a function, one between two suspensions for the others. A segment
begins with `_resume` and ends with `_pause`; the Context is attached and the thread's slot taken only
in between, so nothing of a suspended call is left where others run.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import AsyncGenerator, Callable, Generator
from contextvars import Token
from functools import partial
from time import perf_counter_ns
from typing import Any, ParamSpec, TypeVar, cast

from opentelemetry.context import Context, attach, detach, get_current

from codoperf_otel._context import Record, thread
from codoperf_otel._recording import begin, finish
from codoperf_otel._sites import Site

P = ParamSpec("P")
R = TypeVar("R")
Function = Callable[..., Any]
Attached = Token[Context] | None

_PLAIN = frozenset({type(None), bool, int, float, str, bytes, list, tuple, dict, set})
"""What calls mostly give; to ask a type for what it lacks takes longer."""


def _resume(record: Record) -> Attached:
    """Begin a segment: what ran at the last pause runs again."""
    if record.left:
        record.suspended_ns += perf_counter_ns() - record.left
    token = attach(record.context) if record.context is not None else None
    slot = thread.slot
    record.outer = slot.switch(record.inner or record)
    record.entered = slot.since
    return token


def _pause(record: Record, token: Attached) -> None:
    """End a segment: a span that the code holds open now is current again in the next one."""
    slot = thread.slot
    inner = slot.switch(record.outer)
    record.cpu_ns += slot.since - record.entered  # type: ignore[operator]  # a driven call always has a clock
    record.inner = inner if inner is not record else None
    record.outer = None
    if token is not None:
        record.context = get_current()
        detach(token)
    record.left = perf_counter_ns()


def _function(func: Function, site: Site) -> Function:
    @functools.wraps(func)
    def monitored(*args: Any, **kwargs: Any) -> Any:
        record = begin(site)
        if site.capture is not None:
            site.capture.arguments(record.span, args, kwargs)
        # what `_resume` and `_pause` do, written out: most calls are of this kind
        context = record.context
        token = attach(context) if context is not None else None
        slot = thread.slot
        record.outer = slot.switch(record)
        record.entered = slot.since
        try:
            result = func(*args, **kwargs)
        except BaseException as error:
            _pause(record, token)
            finish(site, record, error)
            raise
        kind = type(result)
        if kind not in _PLAIN and hasattr(kind, "__await__"):
            return _awaited(result, site, record, token)
        slot.switch(record.outer)
        record.cpu_ns = slot.since - record.entered
        record.outer = None
        if token is not None:
            detach(token)
        record.left = perf_counter_ns()
        if site.capture is not None:
            site.capture.result(record.span, result)
        finish(site, record)
        return result

    return monitored


def _awaited(result: Any, site: Site, record: Record, token: Attached) -> Any:
    """What a plain function gave that is to be awaited: the call lasts until that is done."""
    _pause(record, token)
    if inspect.iscoroutine(result):
        return _finish_with(result, site, record)
    if hasattr(type(result), "add_done_callback"):
        result.add_done_callback(partial(_finish_done, site, record))
    else:
        finish(site, record)
    return result


async def _finish_with(coroutine: Any, site: Site, record: Record) -> Any:
    try:
        result = await _steps(coroutine, record, _resume(record))
    except BaseException as error:
        finish(site, record, error)
        raise
    finish(site, record)
    return result


def _finish_done(site: Site, record: Record, future: Any) -> None:
    record.left = perf_counter_ns()
    finish(site, record, _failure_of(future))


def _failure_of(future: Any) -> BaseException | None:
    try:
        error: BaseException | None = future.exception()
    except BaseException as cancelled:
        return cancelled
    return error


@types.coroutine
def _steps(awaitable: Any, record: Record, token: Attached) -> Generator[Any, Any, Any]:
    """Drive an awaitable's steps, each a segment of the record; the first one is begun by the caller."""
    step, value = awaitable.send, None
    while True:
        try:
            item = step(value)
        except StopIteration as stop:
            _pause(record, token)
            return stop.value
        except BaseException:
            _pause(record, token)
            raise
        finally:
            value = None  # a thrown exception that is kept here would keep this frame
        _pause(record, token)
        try:
            value = yield item
            step = awaitable.send
        except BaseException as thrown:
            step, value = awaitable.throw, thrown
        token = _resume(record)


def _coroutine_function(func: Function, site: Site) -> Function:
    @functools.wraps(func)
    async def monitored(*args: Any, **kwargs: Any) -> Any:
        coroutine = func(*args, **kwargs)
        record = begin(site)
        if site.capture is not None:
            site.capture.arguments(record.span, args, kwargs)
        try:
            result = await _steps(coroutine, record, _resume(record))
        except BaseException as error:
            finish(site, record, error)
            raise
        if site.capture is not None:
            site.capture.result(record.span, result)
        finish(site, record)
        return result

    return monitored


def _generator_function(func: Function, site: Site) -> Function:
    @functools.wraps(func)
    def monitored(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        generator = func(*args, **kwargs)
        record = begin(site)
        if site.capture is not None:
            site.capture.arguments(record.span, args, kwargs)
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
            _pause(record, token)
            record.yielded += 1
            try:
                value = yield item
                step = generator.send
            except BaseException as thrown:
                step, value = generator.throw, thrown
            token = _resume(record)

    return monitored


def _async_generator_function(func: Function, site: Site) -> Function:
    @functools.wraps(func)
    async def monitored(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        generator = func(*args, **kwargs)
        record = begin(site)
        if site.capture is not None:
            site.capture.arguments(record.span, args, kwargs)
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
            token = _resume(record)

    return monitored


_KINDS: tuple[tuple[Callable[[Any], bool], Callable[[Function, Site], Function]], ...] = (
    (inspect.iscoroutinefunction, _coroutine_function),
    (inspect.isasyncgenfunction, _async_generator_function),
    (inspect.isgeneratorfunction, _generator_function),
)


def monitored(func: Callable[P, R], make_site: Callable[[Function], Site]) -> Callable[P, R]:
    """`func`, whatever its kind, with each call of it recorded as one of the site made for it.

    Of a class, the public methods it defines itself.
    """
    if isinstance(func, type):
        return cast("Callable[P, R]", _monitor_methods(func, make_site))
    if isinstance(func, classmethod | staticmethod):
        return cast("Callable[P, R]", type(func)(monitored(func.__func__, make_site)))
    called = func if hasattr(func, "__code__") or isinstance(func, partial) else _call_of(func)
    wrap = next((wrap for is_kind, wrap in _KINDS if is_kind(called)), _function)
    return wrap(func, make_site(func))


def _call_of(func: Any) -> Any:
    return getattr(type(func), "__call__", func)  # noqa: B004  # its kind is asked, not whether it is there


def _monitor_methods(owner: type, make_site: Callable[[Function], Site]) -> type:
    for name, member in list(vars(owner).items()):
        if not name.startswith("_") and isinstance(member, classmethod | staticmethod | types.FunctionType):
            setattr(owner, name, monitored(cast("Function", member), make_site))
    return owner
