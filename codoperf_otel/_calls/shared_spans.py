"""One span for one execution that several record: a framework, its adapter, and a decorator.

A framework's span of an agent or a tool is current while that runs. If it runs as a decorated function of
the same name, or in a call that an adapter makes of it, the call has no span of its own. What is known of it
is put on the span that is there. A decorated function shares the span of an adapter's call in the same way,
and an adapter's call that of a decorated function. A framework that would begin a span inside such a function
gets the function's. A span is shared once: the next call has its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, StatusCode

from codoperf_otel import _telemetry
from codoperf_otel._calls.context import SPAN_KEY, call_in
from codoperf_otel._calls.foreign_code import failed
from codoperf_otel._calls.foreign_spans import ForeignSpan, charged_for
from codoperf_otel._telemetry import names
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

    def say_failure(self, failure: BaseException) -> None:
        """Let a span of another library, which may tell more of it, say that the call has failed."""
        is_ours = self._owner is not None and not self._owner.is_foreign
        if not is_ours and names.ERROR_TYPE not in (getattr(self._span, "attributes", None) or ()):
            self._span.set_attribute(names.ERROR_TYPE, _telemetry.error_type(failure))
            self._span.set_status(StatusCode.ERROR)


class LentSpan(SharedSpan):
    """The span of a call, in the hands of a framework that would have made one of the same execution.

    How it ended is said by the call.
    """

    def __init__(self, call: Call) -> None:
        super().__init__(call.span, call, None)

    def __enter__(self) -> LentSpan:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing: it goes on."""

    def record_exception(self, *_: object, **__: object) -> None:
        """Nothing: if it leaves the call, it is recorded there."""

    def set_status(self, *_: object, **__: object) -> None:
        """Nothing: the call's result is its function's."""


def lent_span(name: str, around: Context, kind: SpanKind, given: Attributes) -> LentSpan | None:
    """The span for a framework that begins one in this Context, if it is of the decorated call there."""
    call, span = call_in(around), around.get(SPAN_KEY)
    if call is None or span is not call.span or span is INVALID_SPAN or hasattr(span, _TAKEN):
        return None
    site = call.site
    if site.execution is None or site.origin is not None or call.shared_ns is not None or not call.is_running:
        return None
    if name != site.span_name and (kind is not SpanKind.INTERNAL or not _says(site, given)):
        return None
    setattr(span, _TAKEN, True)
    known = call.site_for_agent.attributes
    call.span.set_attributes({name: value for name, value in given.items() if name not in known})
    return LentSpan(call)


def share_span(call: Call, outer: Call | None, around: Context, given: Attributes) -> Span | None:
    """The span that a call which begins shares, with the attributes given to it that it lacks; else None."""
    try:
        current = cast("Span | None", around.get(SPAN_KEY))
        if outer is not None and (current is outer.span or _is_lent(current, outer)):
            return _shared_with_call(call, outer)
        return None if current is None else _shared_with_library(call, current, outer, given)
    except Exception as error:
        failed("a span cannot be shared by %s", error, call.site.span_name)
        return None


def _is_lent(span: Span | None, call: Call) -> bool:
    return type(span) is LentSpan and span._call is call  # type: ignore[comparison-overlap]


def _stands_for(call: Call, outer: Call) -> bool:
    """Whether a call is counted in the place of one around it, which others record of the same execution."""
    if outer.shared_ns is not None or outer.site.execution != call.site.execution:
        return False
    return outer.site.origin != call.site.origin and outer.is_running


def _shared_with_call(call: Call, outer: Call) -> Span | None:
    """Share the span of a call."""
    if not _stands_for(call, outer):
        return None
    outer.shared_ns = 0
    if outer.site.is_timed_elsewhere:
        call.site_for_agent = call.site_for_agent.timed_elsewhere()
    return cast("Span", SharedSpan(outer.span, call, outer))


def _is_same(site: Site, span: Span, known: Attributes) -> bool:
    """Whether a span says so, in its attributes or, where it has none of them yet, in its name."""
    if any(name in known for name, _ in site.execution or ()):
        return _says(site, known)
    return getattr(span, "name", None) == site.span_name


def _says(site: Site, known: Attributes) -> bool:
    return all(known.get(name) == value for name, value in site.execution or ())


def _shared_with_library(call: Call, span: Span, outer: Call | None, given: Attributes) -> Span | None:
    if hasattr(span, _TAKEN):
        return None
    known: Attributes | None = getattr(span, "attributes", None)
    if known is None or not span.is_recording():
        return None
    if not _is_same(call.site, span, known):
        return None
    setattr(span, _TAKEN, True)
    span.set_attributes({name: value for name, value in given.items() if name not in known})
    if outer is not None and call.lineage is outer.lineage and _stands_for(call, outer):
        outer.shared_ns = 0  # the framework has spans between the two, none of them of another agent
    return cast("Span", SharedSpan(span, call, charged_for(span)))
