"""What makes a wrapper the equal of what it wraps."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from types import FunctionType
from typing import Any

from codoperf_otel._calls.signatures import signature_of
from codoperf_otel._telemetry.interrupts import raise_interrupt

Function = Callable[..., Any]

_OF_METHODS = ("__self__", "__func__")
_ROOM = __file__.rpartition(os.sep)[0]


def like(func: Function) -> Callable[[Function], Function]:
    """Make a wrapper look like `func`: name, docstring, signature, attributes, and the globals of its module.

    Who resolves annotations looks into the globals of the function at hand. So the wrapper gets those of
    the module that defines `func`, and its code must have no global names of its own.
    """

    def made_alike(wrapper: Any) -> Function:
        made = FunctionType(
            wrapper.__code__, _globals_of(func, wrapper), wrapper.__name__, None, wrapper.__closure__
        )
        try:
            functools.update_wrapper(made, func)
        except TypeError:  # an object whose names are no texts: those of its class
            functools.update_wrapper(made, type(func), updated=())
            made.__wrapped__ = func  # type: ignore[attr-defined]
        _add_signature(made, func)
        if not isinstance(getattr(func, "__name__", None), str):
            _add_names(made, func)
        if not isinstance(func, FunctionType):
            _add_attributes(made, func)
        return made

    return made_alike


def is_wrapper(func: object) -> bool:
    """Whether a function is one of ours around another."""
    return isinstance(func, FunctionType) and func.__code__.co_filename.rpartition(os.sep)[0] == _ROOM


def documented(func: Any) -> Any:
    """What says what a callable does: of a partial its function, unless it has a docstring of its own."""
    while isinstance(func, functools.partial) and "__doc__" not in vars(func):
        func = func.func
    return func


def _globals_of(func: Function, wrapper: FunctionType) -> dict[str, Any]:
    if type(func) is FunctionType and not func.__dict__:  # most are, and to unwrap takes longer
        return func.__globals__
    try:
        found = getattr(_code_of(inspect.unwrap(func)), "__globals__", None)
    except ValueError:  # an object that has whatever attribute is asked for
        found = None
    return found if type(found) is dict else wrapper.__globals__


def _inner(func: Any) -> Any:
    """What a partial is made of."""
    while isinstance(func, functools.partial):
        func = func.func
    return func


def _code_of(func: Any) -> Any:
    """The function that runs where an object is called, or a partial."""
    func = _inner(func)
    return func if hasattr(func, "__globals__") else getattr(type(func), "__call__", func)  # noqa: B004


def _add_names(made: Any, func: Any) -> None:
    """An object has no name and no annotations, but who asks a function for them expects some.

    Nobody resolves texts in them later: the object that is wrapped has no globals.
    """
    inner, code = _inner(func), _code_of(func)
    named = inner if isinstance(getattr(inner, "__qualname__", None), str) else type(inner)
    made.__name__, made.__qualname__ = named.__name__, named.__qualname__
    made.__doc__ = documented(func).__doc__
    try:
        made.__annotations__ = inspect.get_annotations(code, eval_str=True)
    except Exception as error:  # a name that is not there yet, or no function
        raise_interrupt(error)


def _add_signature(made: Any, func: Function) -> None:
    """`inspect.getfullargspec` does not follow ``__wrapped__``, but heeds ``__signature__``."""
    if hasattr(func, "__wrapped__"):  # then it is to see what `func` itself takes: mostly anything
        return
    try:
        made.__signature__ = signature_of(func)
    except (TypeError, ValueError):  # some functions written in C have none
        return


def _add_attributes(made: Any, func: Any) -> None:
    """What a cached function, a bound method or another object offers beside being called."""
    for name in dir(func):
        if (not name.startswith("__") or name in _OF_METHODS) and not hasattr(made, name):
            try:
                setattr(made, name, getattr(func, name))
            except Exception as error:  # a property may fail
                raise_interrupt(error)
