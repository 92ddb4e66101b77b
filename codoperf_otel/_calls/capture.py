"""Arguments and results on spans: only those asked for by name, cut to length, after redaction."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry.trace import Span

from codoperf_otel._calls.short_repr import cut, short_repr
from codoperf_otel._environment_variables import setting_error
from codoperf_otel._once import OncePerKey
from codoperf_otel._telemetry import names
from codoperf_otel._telemetry.interrupts import raise_interrupt

log = logging.getLogger("codoperf_otel.calls")

RESULT = "return"

Redact = Callable[[str, Any], Any]


class Capture:
    """What to put on the span of a function's call: arguments by name, and ``"return"`` for its result."""

    __slots__ = ("_is_first", "_names", "_redact", "_result", "_signature")

    def __init__(self, func: Callable[..., Any], chosen: Iterable[str], redact: Redact | None) -> None:
        if redact is not None and not callable(redact):
            raise setting_error("redact", redact, "a function of a name and a value")
        self._signature = inspect.signature(func)
        self._names = tuple(name for name in chosen if name != RESULT)
        self._result = RESULT in tuple(chosen)
        self._redact = redact
        self._is_first = OncePerKey()
        unknown = [name for name in self._names if name not in self._signature.parameters]
        if unknown:
            known = ", ".join([*self._signature.parameters, RESULT])
            raise ValueError(f"capture: {func!r} has no parameter {', '.join(unknown)}; allowed are {known}")

    def arguments(self, span: Span, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Put the chosen arguments of a call on its span, if the span records."""
        if not self._names or not span.is_recording():
            return
        try:
            bound = self._signature.bind(*args, **kwargs)
            bound.apply_defaults()
        except TypeError:
            return  # the call itself says what is wrong
        for name in self._names:
            self._put(span, f"{names.ARGUMENT}.{name}", name, bound.arguments[name])

    def result(self, span: Span, value: Any) -> None:
        """Put the result of a call on its span, if that was chosen and the span records."""
        if self._result and span.is_recording():
            self._put(span, names.RESULT, RESULT, value)

    def _put(self, span: Span, attribute: str, name: str, value: Any) -> None:
        try:
            shown = self._redact(name, value) if self._redact is not None else value
            span.set_attribute(attribute, shown if isinstance(shown, bool | int | float) else _text(shown))
        except Exception as error:
            raise_interrupt(error)
            if self._is_first(name):
                log.warning("%s of a call cannot be shown on its span", name, exc_info=True)


def _text(value: Any) -> str:
    return cut(value) if isinstance(value, str) else short_repr(value)
