"""CPU time, and on request memory, on the spans of other libraries."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span, SpanProcessor
from opentelemetry.trace import TraceFlags

from codoperf_otel._calls.context import place
from codoperf_otel._calls.endings import count_span
from codoperf_otel._calls.foreign_code import failed
from codoperf_otel._calls.foreign_spans import MARK, ForeignSpan
from codoperf_otel._calls.lineages import Lineage
from codoperf_otel._calls.meters import MEMORY, OpenMeter, opened_window
from codoperf_otel._calls.runtime_context import runtime
from codoperf_otel._telemetry import names

_FEW = 2
"""Attributes that are set sooner one by one."""

_new = object.__new__


class ResourceSpanProcessor(SpanProcessor):
    """Puts CPU time, and the agent in force, on spans that other libraries make.

    `configure` adds one. In an SDK set-up of your own, add it to the tracer provider; a second one changes
    nothing. docs/telemetry.md says which spans have no CPU time.

    >>> from opentelemetry.sdk.trace import TracerProvider
    >>> provider = TracerProvider()
    >>> provider.add_span_processor(ResourceSpanProcessor())
    >>> with provider.get_tracer("library").start_as_current_span("query") as span:
    ...     rows = sorted(range(10))
    >>> sorted(span.attributes)
    ['codoperf.cpu.self_time', 'codoperf.cpu.time']

    Args:
        memory: put on memory and CPU time of the whole process, too.
    """

    def __init__(self, memory: bool = False) -> None:
        self._memory = memory
        self._is_shut_down = False
        if memory:
            MEMORY.prepare()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Begin to measure a span of another library."""
        scope = span.instrumentation_scope
        if (scope is not None and scope.name == names.SCOPE) or self._is_shut_down or hasattr(span, MARK):
            return
        try:
            opened = _new(_Opened)
            opened.fill(span)
            opened.memory = opened_window() if self._memory else None
            around = runtime.get_current() if parent_context is None else parent_context
            if around:
                place(opened, around)
            opened.end_span = span.end
            span.end = opened  # type: ignore[method-assign]
            setattr(span, MARK, opened)
            try:
                opened.start(span.parent)
            except BaseException:
                opened.abandon()
                raise
        except Exception as error:
            failed("a span of another library is not measured", error)

    def shutdown(self) -> None:
        """Measure no more spans that start from now on."""
        self._is_shut_down = True

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002
        """Nothing is held back. Older SDKs take None for a failure, and flush no processor after it."""
        return True


class _Opened(ForeignSpan):
    """A span while it is measured. It stands in for the span's `end`, and is taken off there."""

    __slots__ = ("end_span", "memory")

    memory: OpenMeter | None
    end_span: Callable[[int | None], None]
    """The span's own; not set any more where it has been called."""

    def __call__(self, end_time: int | None = None) -> None:
        """End the span: it is measured up to here. The first of any number of threads does."""
        try:
            end_span = self.end_span
            del self.end_span
        except AttributeError:
            return
        span: Any = self.span
        agent = None
        try:
            agent = self.lineage()
            self.end(agent)
            if span.is_recording() and span.context.trace_flags & TraceFlags.SAMPLED:
                self._put_on(span, agent)
            if agent is not None:
                count_span(self, agent, has_failed=not span.status.is_ok)
        except Exception as error:
            failed("a span of another library has no CPU time", error)
        finally:
            if not self.has_left:
                self.abandon()
            self.let_go(agent)
            if span.end is self:
                _take_off(span, end_span)
        end_span(end_time)

    def _put_on(self, span: Any, agent: Lineage | None) -> None:
        found = {} if self.memory is None else dict(self.memory.close(perf_counter_ns()))
        if self.cpu_ns is not None:
            found[names.CPU_TIME] = self.cpu_ns / 1e9
            found[names.CPU_SELF_TIME] = (self.self_ns + (self.shared_ns or 0)) / 1e9
        if agent is not None and names.GEN_AI_AGENT_NAME not in self.attributes():
            found[names.GEN_AI_AGENT_NAME] = agent.name
        if len(found) > _FEW:
            span.set_attributes(found)
        else:
            for name, value in found.items():
                span.set_attribute(name, value)


def _take_off(span: Any, end_span: Any) -> None:
    """Let the span have its own `end` again."""
    del span.end
    if span.end != end_span:  # methods are equal where they are of the same function and object
        span.end = end_span
