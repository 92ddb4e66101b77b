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
        if not isinstance(func, FunctionType):
            _add_attributes(made, func)
        return made

    return made_alike


def is_wrapper(func: object) -> bool:
    """Whether a function is one of ours around another."""
    return isinstance(func, FunctionType) and func.__code__.co_filename.rpartition(os.sep)[0] == _ROOM


def _globals_of(func: Function, wrapper: FunctionType) -> dict[str, Any]:
    if type(func) is FunctionType and not func.__dict__:  # most are, and to unwrap takes longer
        return func.__globals__
    try:
        found = getattr(inspect.unwrap(func), "__globals__", None)
    except ValueError:  # an object that has whatever attribute is asked for
        found = None
    return found if type(found) is dict else wrapper.__globals__


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
