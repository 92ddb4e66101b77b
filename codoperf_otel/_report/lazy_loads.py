"""Lazy loads: which module was imported at its first use, and which operation paid for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from codoperf_otel._report.model import Attributes, Span, number, string
from codoperf_otel._telemetry import names


@dataclass(slots=True)
class LazyLoad:
    """The first use of one lazy module, and the operation that paid for it."""

    module: str
    operation: str
    agent: str | None
    duration_seconds: float | None
    memory_growth_bytes: float | None
    module_count: float | None
    error: str | None


def lazy_loads(spans: Iterable[Span]) -> list[LazyLoad]:
    """Every lazy load, the longest first: an event of the span that paid for it, or a span of its own."""
    found = [_lazy_load(span, attributes) for span in spans for attributes in _loads(span)]
    return sorted(found, key=lambda load: -(load.duration_seconds or 0.0))


def _loads(span: Span) -> Iterator[Attributes]:
    if names.LAZY_LOAD_DURATION_ATTRIBUTE in span.attributes:
        yield span.attributes
    yield from (event.attributes for event in span.events if event.name == names.LAZY_LOAD_EVENT)


def _lazy_load(span: Span, attributes: Attributes) -> LazyLoad:
    return LazyLoad(
        module=string(attributes, names.MODULE_NAME) or "",
        operation=span.name,
        agent=span.agent,
        duration_seconds=number(attributes, names.LAZY_LOAD_DURATION_ATTRIBUTE),
        memory_growth_bytes=number(attributes, names.PROCESS_MEMORY_DELTA),
        module_count=number(attributes, names.MODULE_COUNT),
        error=string(attributes, names.ERROR_TYPE),
    )
