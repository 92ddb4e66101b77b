"""The one driver of every monitored call: it knows the kinds of callables, and who drives each."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from functools import partial
from typing import Any, ParamSpec, TypeVar, cast

from codoperf_otel._calls.drive_coroutines import drive_async_generator_function, drive_coroutine_function
from codoperf_otel._calls.drive_functions import drive_function
from codoperf_otel._calls.drive_generators import (
    drive_coroutine_of_generator_function,
    drive_generator_function,
)
from codoperf_otel._calls.sites import Site
from codoperf_otel._calls.wrapping import Function

P = ParamSpec("P")
R = TypeVar("R")


def _is_coroutine_of_generator(func: Any) -> bool:
    code = getattr(func, "__code__", None)
    return isinstance(code, types.CodeType) and bool(code.co_flags & inspect.CO_ITERABLE_COROUTINE)


def _is_coroutine_function(func: Any) -> bool:
    """Whether its calls are coroutines; a function that is only marked as such may return any awaitable."""
    while isinstance(func, types.MethodType | partial):
        func = func.__func__ if isinstance(func, types.MethodType) else func.func
    code = getattr(func, "__code__", None)
    is_plain = isinstance(code, types.CodeType) and not code.co_flags & inspect.CO_COROUTINE
    return inspect.iscoroutinefunction(func) and not is_plain


_SUSPENDING = (
    inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR | inspect.CO_ITERABLE_COROUTINE
)
_KINDS: tuple[tuple[Callable[[Any], bool], Callable[[Function, Site], Function]], ...] = (
    (_is_coroutine_function, drive_coroutine_function),
    (_is_coroutine_of_generator, drive_coroutine_of_generator_function),
    (inspect.isasyncgenfunction, drive_async_generator_function),
    (inspect.isgeneratorfunction, drive_generator_function),
)


def monitored(func: Callable[P, R], make_site: Callable[[Function], Site]) -> Callable[P, R]:
    """`func`, whatever its kind, with each call of it recorded as one of the site made for it.

    Of a class, the public methods it defines itself.
    """
    if isinstance(func, type):
        return cast("Callable[P, R]", _monitor_methods(func, make_site))
    if isinstance(func, classmethod | staticmethod):
        return cast("Callable[P, R]", type(func)(monitored(func.__func__, make_site)))
    wrap = _driver_of(func)
    made = wrap(func, make_site(func))
    if wrap is drive_function and inspect.iscoroutinefunction(func):
        return cast("Callable[P, R]", inspect.markcoroutinefunction(made))  # type: ignore[attr-defined]
    return made


def _driver_of(func: Function) -> Callable[[Function, Site], Function]:
    """Who drives it. Most are plain functions with nothing attached: each kind takes longer to ask for."""
    if type(func) is types.FunctionType and not func.__dict__ and not func.__code__.co_flags & _SUSPENDING:
        return drive_function
    called = func if hasattr(func, "__code__") or isinstance(func, partial) else _call_of(func)
    return next((wrap for is_kind, wrap in _KINDS if is_kind(called)), drive_function)


def _call_of(func: Any) -> Any:
    return getattr(type(func), "__call__", func)  # noqa: B004  # its kind is asked, not whether it is there


def _monitor_methods(owner: type, make_site: Callable[[Function], Site]) -> type:
    for name, member in list(vars(owner).items()):
        if not name.startswith("_") and isinstance(member, classmethod | staticmethod | types.FunctionType):
            setattr(owner, name, monitored(cast("Function", member), make_site))
    return owner
