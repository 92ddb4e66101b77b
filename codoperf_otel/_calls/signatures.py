"""Signatures of wrappers: what `inspect` shows of a decorated function.

`inspect.getfullargspec` does not follow ``__wrapped__``, so a wrapper needs a ``__signature__``. But then
Python does not resolve annotations that are texts, even where it is asked to (``eval_str=True``). So they
are resolved here, for all who ask. Most are never asked for, and to make one takes longer than the wrapper.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any

from codoperf_otel._telemetry.interrupts import raise_interrupt


def signature_of(func: Callable[..., Any]) -> inspect.Signature:
    """The signature for a wrapper of `func`.

    Raises:
        TypeError, ValueError: it has none, like some functions written in C.
    """
    if type(func) is FunctionType and not func.__dict__:
        return Signature(func)
    found = inspect.signature(func)
    annotations = [found.return_annotation, *(each.annotation for each in found.parameters.values())]
    return Signature(func) if any(isinstance(each, str) for each in annotations) else found


class Signature(inspect.Signature):
    """A function's signature, made when it is asked for.

    Annotations that are texts are resolved once all that they name is there.
    """

    __slots__ = ("_func", "_known")

    def __init__(self, func: Callable[..., Any]) -> None:
        self._func = func
        self._known: inspect.Signature | None = None

    @property
    def parameters(self) -> Any:
        """The parameters, their annotations resolved."""
        return self._resolved().parameters

    @property
    def return_annotation(self) -> Any:
        """The annotation of what is returned, resolved."""
        return self._resolved().return_annotation

    def replace(self, **changes: Any) -> inspect.Signature:  # type: ignore[override]  # whatever there may be
        """A plain signature with these changes."""
        return self._resolved().replace(**changes)

    __replace__ = replace  # type: ignore[assignment]

    def __reduce__(self) -> Any:
        return self._resolved().__reduce__()

    def _resolved(self) -> inspect.Signature:
        if self._known is not None:
            return self._known
        try:
            self._known = inspect.signature(self._func, eval_str=True)
        except Exception as error:  # a name that is not there yet, or nothing that can be evaluated
            raise_interrupt(error)
            return inspect.signature(self._func)
        return self._known
