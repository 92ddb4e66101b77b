"""One span for one execution that several record: a framework, its adapter, and a decorator.

A framework's span of an agent or a tool is current while that runs. If it runs as a decorated function of
the same name, or in a call that an adapter makes of it, the call has no span of its own. What is known of it
is put on the span that is there. A decorated function shares the span of an adapter's call in the same way,
and an adapter's call that of a decorated function. A span is shared once: the next call has its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from opentelemetry.context import Context
from opentelemetry.trace import Span

from codoperf_otel._calls.context import SPAN_KEY
from codoperf_otel._calls.foreign_code import failed
from codoperf_otel._calls.foreign_spans import ForeignSpan, charged_for
from codoperf_otel._telemetry.attribute_sets import Attributes

if TYPE_CHECKING:
    from codoperf_otel._calls.call import Call
    from codoperf_otel._calls.sites import Site

_TAKEN = "_codoperf_shared"
"""The attribute of a span of another library that is shared already."""


class SharedSpan:
    """A span that a call shares. To whoever looks at it, it is that span; only its owner ends it."""

    __class__: Any = property(lambda shared: type(shared._span))

    def __init__(self, span: Span, call: Call, owner: Call | ForeignSpan | None) -> None:
        self._span = span
        self._call = call
        self._owner = owner
        self._codoperf_charged = None  # what runs in the call is charged to the call

    def __getattr__(self, name: str) -> Any:
        """What the span has."""
        return getattr(self._span, name)

    def end(self, end_time: int | None = None) -> None:  # noqa: ARG002
        """Leave the span open, and tell its owner the CPU time that it has to show for the call."""
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.shared_ns = (owner.shared_ns or 0) + self._call.self_ns + (self._call.shared_ns or 0)


def share_span(call: Call, outer: Call | None, around: Context, given: Attributes) -> Span | None:
    """The span that a call which begins shares, with the attributes given to it that it lacks; else None."""
    try:
        current = cast("Span | None", around.get(SPAN_KEY))
        if outer is not None and current is outer.span:
            return _shared_with_call(call, outer)
        return None if current is None else _shared_with_library(call, current, given)
    except Exception as error:
        failed("a span cannot be shared by %s", error, call.site.span_name)
        return None


def _shared_with_call(call: Call, outer: Call) -> Span | None:
    """Share the span of a call: of the same execution, recorded by others, and still running."""
    if outer.shared_ns is not None or outer.site.execution != call.site.execution:
        return None
    if outer.site.origin == call.site.origin or not outer.is_running:
        return None
    outer.shared_ns = 0
    if outer.site.is_timed_elsewhere:
        call.site_for_agent = call.site_for_agent.timed_elsewhere()
    return cast("Span", SharedSpan(outer.span, call, outer))


def _is_same(site: Site, span: Span, known: Attributes) -> bool:
    """Whether a span says so, in its attributes or, where it has none of them yet, in its name."""
    execution = site.execution or ()
    if any(name in known for name, _ in execution):
        return all(known.get(name) == value for name, value in execution)
    return getattr(span, "name", None) == site.span_name


def _shared_with_library(call: Call, span: Span, given: Attributes) -> Span | None:
    if hasattr(span, _TAKEN):
        return None
    known: Attributes | None = getattr(span, "attributes", None)
    if known is None or not span.is_recording():
        return None
    if not _is_same(call.site, span, known):
        return None
    setattr(span, _TAKEN, True)
    span.set_attributes({name: value for name, value in given.items() if name not in known})
    return cast("Span", SharedSpan(span, call, charged_for(span)))
