"""Signatures of wrappers: what `inspect` shows of a decorated function.

`inspect.getfullargspec` does not follow ``__wrapped__``, so a wrapper needs a ``__signature__``. But then
Python does not resolve annotations that are texts, even where it is asked to (``eval_str=True``). So they
are resolved here, for all who ask.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from codoperf_otel._telemetry.interrupts import raise_interrupt


def signature_of(func: Callable[..., Any]) -> inspect.Signature:
    """The signature for a wrapper of `func`.

    Raises:
        TypeError, ValueError: it has none, like some functions written in C.
    """
    found = inspect.signature(func)
    annotations = [found.return_annotation, *(each.annotation for each in found.parameters.values())]
    return Signature(func, found) if any(isinstance(each, str) for each in annotations) else found


class Signature(inspect.Signature):
    """A signature with annotations that are texts. They are resolved once all that they name is there."""

    __slots__ = ("_func", "_known")

    def __init__(self, func: Callable[..., Any], unresolved: inspect.Signature) -> None:
        super().__init__()
        self._func: Callable[..., Any] | None = func
        self._known = unresolved

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
        if self._func is not None:
            try:
                self._known = inspect.signature(self._func, eval_str=True)
                self._func = None
            except Exception as error:  # a name that is not there yet, or nothing that can be evaluated
                raise_interrupt(error)
        return self._known
