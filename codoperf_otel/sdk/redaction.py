"""Values and parts of texts that are hidden before anything is written or sent."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from fnmatch import translate
from functools import lru_cache
from hashlib import blake2b
from typing import Any, TypeVar, cast

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from codoperf_otel._once import Once
from codoperf_otel._telemetry import names
from codoperf_otel._telemetry.interrupts import raise_interrupt
from codoperf_otel.sdk.redact_setting import Hidden
from codoperf_otel.sdk.sendable import SENDABLE, Sendable, changed

MARKER = "[redacted]"

_KEY = os.urandom(16)
_MOST_NAMES = 2_000

T = TypeVar("T")

log = logging.getLogger("codoperf_otel.sdk")


class Redaction(Sendable):
    """What can be sent, without what `hidden` says. A value that cannot be redacted is left out.

    >>> redaction = Redaction(Hidden(("*password*",), (re.compile(r"sk-\\w+"),)))
    >>> redaction.attributes({"db.Password": 3, "prompt": "my key is sk-123", "rows": 3})
    {'db.Password': '[redacted]', 'prompt': 'my key is [redacted]', 'rows': 3}
    """

    def __init__(self, hidden: Hidden) -> None:
        self._hides = re.compile("|".join(map(translate, hidden.names)) or r"(?!)", re.IGNORECASE).match
        self._named = lru_cache(_MOST_NAMES, typed=True)(self._looked_up)
        self._texts = hidden.texts
        self._resource: tuple[Resource, Resource] | None = None
        self._is_first_failure = Once()

    def spans(self, spans: Sequence[ReadableSpan]) -> Sequence[ReadableSpan]:
        """Spans as they can be sent."""
        return list(map(self.span, spans))

    def span(self, span: ReadableSpan) -> ReadableSpan:
        """One span."""
        return self._with_origin(super().span(span))

    def log(self, readable: Any) -> Any:
        """One log record."""
        return self._with_origin(super().log(readable))

    def _with_origin(self, item: T) -> T:
        readable: Any = item
        scope = readable.instrumentation_scope
        return changed(
            item,
            resource=self.resource(readable.resource),
            instrumentation_scope=None if scope is None else self.scope(scope),
        )

    def resource(self, resource: Resource) -> Resource:
        """Who sends; the same object each time, by which the encoder groups."""
        known = self._resource
        if known is None or known[0] is not resource:
            attributes = self.attributes(resource.attributes)
            is_same = attributes is resource.attributes
            known = resource, resource if is_same else Resource(attributes, resource.schema_url)
            self._resource = known
        return known[1]

    def scope(self, scope: InstrumentationScope) -> InstrumentationScope:
        """Which library made it."""
        if not scope.attributes:
            return scope
        attributes = self.attributes(scope.attributes)
        return InstrumentationScope(scope.name, scope.version, scope.schema_url, attributes)

    def description(self, text: str | None) -> str | None:
        """The description of a span's status, which has an exception's message in it."""
        is_hidden = text and self._hides(names.EXCEPTION_MESSAGE)
        return self.marker(text) if is_hidden else super().description(text)

    def attributes(self, attributes: T, depth: int = 0) -> T:
        """Attributes, and the entries of a map among their values."""
        try:
            return super().attributes(attributes, depth)
        except Exception as error:
            raise_interrupt(error)
            self._failed(error)
            return cast("T", {})

    def attribute(self, name: str, value: Any, depth: int) -> tuple[str, Any]:
        """One attribute."""
        shown, is_hidden = self._named(name)
        return shown, self.marker(value) if is_hidden else self.value(value, depth)

    def _looked_up(self, name: Any) -> tuple[Any, bool]:
        """A name as it is sent, and whether its value is hidden."""
        text = str(name)
        shown = self._in_text(text)
        return self.name(name if shown == text else shown), self._hides(text) is not None

    def value(self, value: Any, depth: int = 0) -> Any:
        """An attribute's value."""
        try:
            return self._value(value, depth)
        except Exception as error:
            raise_interrupt(error)
            self._failed(error)
            return MARKER

    def _value(self, value: Any, depth: int) -> Any:
        match value:
            case str():
                return super().value(self._in_text(value), depth)
            case bytes():
                found = value.decode(errors="surrogateescape")
                return self._in_text(found).encode(errors="surrogateescape")
            case None | bool() | int() | float() | Mapping() | list() | tuple():
                return super().value(value, depth)
            case _:  # it could hold anything
                return self.marker(value)

    def _in_text(self, text: str) -> str:
        for pattern in self._texts:
            text = pattern.sub(self._marked, text)
        return text

    def _marked(self, found: re.Match[str]) -> str:
        return self.marker(found[0])

    def marker(self, value: object) -> str:  # noqa: ARG002
        """What stands in the place of a value."""
        return MARKER

    def _failed(self, error: Exception) -> None:
        if self._is_first_failure():
            kind = type(error).__name__
            log.warning("A value cannot be redacted, so it is left out: %s (more are not logged)", kind)


class SeriesRedaction(Redaction):
    """Keeps series of metrics apart, which one marker for all would make one.

    The marker carries a digest under a key that never leaves this process.
    """

    def marker(self, value: object) -> str:
        """What stands in the place of a value."""
        text = value if isinstance(value, str) else repr(value)
        digest = blake2b(text.encode(errors="backslashreplace"), digest_size=6, key=_KEY).hexdigest()
        return f"{MARKER[:-1]} {digest}]"


def redacting(hidden: Hidden | None, kind: type[Redaction] = Redaction) -> Sendable:
    """What makes sendable, and hides what is to be hidden."""
    return SENDABLE if hidden is None else kind(hidden)
