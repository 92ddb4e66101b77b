"""The SDK's tracers: a framework's span of what a decorated function is already is that function's."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind

from codoperf_otel._calls.foreign_code import failed
from codoperf_otel._calls.runtime_context import runtime
from codoperf_otel._calls.shared_spans import LentSpan, lent_span
from codoperf_otel._calls.thread_clock import thread
from codoperf_otel._patching.replacing import Replacement


def replacements(_: str, module: ModuleType) -> Iterator[Replacement]:
    """What makes spans."""
    original = module.Tracer.start_span
    yield Replacement(module.Tracer, "start_span", original, _lending(original))


def _lending(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def start_span(tracer: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        lent = None if thread.clock.busy else _lent(name, *args, **kwargs)  # ours are made while busy
        return original(tracer, name, *args, **kwargs) if lent is None else lent

    return start_span


def _lent(
    name: str,
    context: Context | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Any = None,
    *_: Any,
    **__: Any,
) -> LentSpan | None:
    try:
        return lent_span(name, runtime.get_current() if context is None else context, kind, attributes or {})
    except Exception as error:
        failed("a span of %s may be doubled", error, name)
        return None
