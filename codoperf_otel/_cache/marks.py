"""What a cache that was asked for it puts on the current span. Keys and values are never among it."""

from __future__ import annotations

from collections.abc import Hashable

from opentelemetry import trace
from opentelemetry.trace import Span, SpanContext, TraceFlags

from codoperf_otel import _telemetry
from codoperf_otel._cache.memory import Memory
from codoperf_otel._cache.namespace import MemoryItem, Namespace
from codoperf_otel._cache.pickling import Part
from codoperf_otel._calls.foreign_code import failed
from codoperf_otel._calls.runtime_context import runtime
from codoperf_otel._telemetry import names

_TRACE, _SPAN = 16, 8  # bytes of their ids
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


class Marks(Part):
    """Events of hits and misses, links to the spans that computed what was found, or both."""

    def __init__(self, namespace: Namespace, memory: Memory, *, events: bool, links: bool) -> None:
        self._namespace = namespace
        self._memory = memory
        self._events = events
        self._links = links

    def get(self, key: Hashable) -> MemoryItem | None:
        """The entry in memory, whose use is marked."""
        entry = self._namespace.entries.get(key)
        if entry is not None and entry.expires > self._memory.clock():
            self.hit(names.MEMORY, entry.origin)
        return entry

    def hit(self, tier: str, origin: bytes) -> None:
        """Mark a value that was found there."""
        try:
            span = _current_span()
            self._event(span, names.CACHE_HIT_EVENT, {names.CACHE_TIER: tier})
            if self._links and origin and span.is_recording() and origin != _packed(span):
                span.add_link(_unpacked(origin))
        except Exception as error:
            failed("a cache's hit is not marked", error)

    def miss(self) -> None:
        """Mark a value that was not found."""
        try:
            self._event(_current_span(), names.CACHE_MISS_EVENT, {})
        except Exception as error:
            failed("a cache's miss is not marked", error)

    def _event(self, span: Span, name: str, attributes: dict[str, str]) -> None:
        if self._events:
            _telemetry.add_event(span, name, {names.CACHE_NAME: self._namespace.name, **attributes})

    def origin(self) -> bytes:
        """The ids of the span that computes here, if it is sampled and to be linked to."""
        try:
            span = _current_span()
            return _packed(span) if self._links and span.get_span_context().trace_flags.sampled else b""
        except Exception as error:
            failed("the span that computes a cache's value is not noted", error)
            return b""


def _current_span() -> Span:
    return trace.get_current_span(runtime.get_current())


def _packed(span: Span) -> bytes:
    context = span.get_span_context()
    return context.trace_id.to_bytes(_TRACE, "big") + context.span_id.to_bytes(_SPAN, "big")


def _unpacked(origin: bytes) -> SpanContext:
    trace_id, span_id = origin[:_TRACE], origin[_TRACE:]
    return SpanContext(int.from_bytes(trace_id, "big"), int.from_bytes(span_id, "big"), True, _SAMPLED)
