"""What a cache puts on spans, where it is asked to."""

from __future__ import annotations

import asyncio
import inspect

import pytest
from opentelemetry import trace

from codoperf_otel.cache_manager import CacheManager, cached_function


@pytest.fixture(params=[False, True], ids=["function", "coroutine"])
def make(request, tmp_path):
    """Makes a cached function that is on disk, and calls it as it has to be."""

    def make(**options):
        def function(x):
            return [x]

        async def coroutine(x):
            return [x]

        decorate = cached_function(60, "answers", CacheManager(tmp_path), **options)
        cached = decorate(coroutine if request.param else function)

        def call(*args):
            found = cached(*args)
            return asyncio.run(found) if inspect.isawaitable(found) else found

        return call

    return make


def events(span):
    """The name and the attributes of each event of a span."""
    return [(event.name, dict(event.attributes)) for event in span.events]


def test_events(make, telemetry):
    """A miss, a hit in memory, and a hit on disk: the cache's name and the tier, no key and no value."""
    one, again = make(span_events=True), make(span_events=True)
    with telemetry.tracer.start_as_current_span("caller"):
        one("secret"), one("secret"), again("secret")
    span = telemetry.span("caller")
    assert events(span) == [
        ("codoperf.cache.miss", {"codoperf.cache.name": "answers"}),
        ("codoperf.cache.hit", {"codoperf.cache.name": "answers", "codoperf.cache.tier": "memory"}),
        ("codoperf.cache.hit", {"codoperf.cache.name": "answers", "codoperf.cache.tier": "disk"}),
    ]
    assert not span.links
    assert "secret" not in span.to_json()


def test_links(make, telemetry):
    """A hit links to the span in which the value was computed, wherever it was kept; not to itself."""
    one, again = make(span_links=True), make(span_links=True)
    with telemetry.tracer.start_as_current_span("computes"):
        one(1), one(1)
    with telemetry.tracer.start_as_current_span("memory"):
        one(1)
    with telemetry.tracer.start_as_current_span("disk"):
        again(1)
    assert not telemetry.span("computes").links
    origin = telemetry.span("computes").context
    for name in ("memory", "disk"):
        (link,) = telemetry.span(name).links
        assert (link.context.trace_id, link.context.span_id) == (origin.trace_id, origin.span_id)
        assert not events(telemetry.span(name))


def test_nothing_is_marked_unasked(make, telemetry):
    """Neither with events nor with links, where nobody has asked for them."""
    call = make()
    with telemetry.tracer.start_as_current_span("caller"):
        call(1), call(1)
    assert not events(telemetry.span("caller"))
    assert not telemetry.span("caller").links


def test_no_link_to_what_was_not_sampled(make, telemetry):
    """A value that no span has computed, and one that an unsampled one has, have no origin."""
    call = make(span_links=True)
    unsampled = trace.NonRecordingSpan(trace.SpanContext(1, 1, False, trace.TraceFlags(0)))
    with trace.use_span(unsampled):
        call(1)
    call(2)
    with telemetry.tracer.start_as_current_span("caller"):
        call(1), call(2)
    assert not telemetry.span("caller").links


def test_a_span_that_fails_fails_nobody(make):
    """What a span of another library raises is not the caller's."""

    class Broken(trace.NonRecordingSpan):
        def is_recording(self):
            raise LookupError

    call = make(span_events=True, span_links=True)
    with trace.use_span(Broken(trace.SpanContext(1, 1, False, trace.TraceFlags(1)))):
        assert call(1) is call(1)


def test_a_span_without_a_context_fails_nobody(make):
    """A span of other code whose context cannot be read leaves the value unlinked, and the call goes on."""

    class Broken(trace.NonRecordingSpan):
        def get_span_context(self):
            raise RuntimeError("no context")

    call = make(span_events=True, span_links=True)
    with trace.use_span(Broken(trace.INVALID_SPAN_CONTEXT)):
        assert call(1) == call(1)
