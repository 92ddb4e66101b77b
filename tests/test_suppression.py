"""Where OpenTelemetry suppresses instrumentation, as around every export, no span is made."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager

import pytest
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, detach, set_value
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

import codoperf_otel
from codoperf_otel import _telemetry


@contextmanager
def suppressed(value=True):
    """What the SDK does around an export, and contrib's ``suppress_instrumentation()`` around anything."""
    token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, value))
    try:
        yield
    finally:
        detach(token)


@codoperf_otel.monitor_performance("leaf")
def leaf():
    """A call inside others."""
    return 1


@codoperf_otel.monitor_performance("function")
def function():
    """A call that has one inside."""
    return leaf()


@codoperf_otel.monitor_performance("generator")
def generator():
    """Yields what a call gives."""
    yield leaf()


@codoperf_otel.monitor_performance("coroutine")
async def coroutine():
    """Is suspended once."""
    await asyncio.sleep(0)
    return leaf()


@codoperf_otel.monitor_performance("slow", min_span_duration=1e-9)
def slow():
    """Has its span afterwards."""
    return leaf()


@codoperf_otel.agent("agent")
def in_agent():
    """Runs in an agent."""
    return leaf()


def in_scope():
    """Runs in a scope."""
    with codoperf_otel.performance_context("scope"):
        return leaf()


CALLS = (
    function,
    lambda: next(iter(generator())),
    lambda: asyncio.run(coroutine()),
    slow,
    in_agent,
    in_scope,
)
NAMES = ("function", "generator", "coroutine", "slow", "agent", "scope")


@pytest.mark.parametrize("call", CALLS, ids=NAMES)
def test_no_spans(telemetry, call):
    """A call of any kind, and what it calls, has none; the caller notices nothing."""
    with suppressed():
        assert call() == 1
    assert telemetry.spans() == []


@pytest.mark.parametrize("call", CALLS, ids=NAMES)
def test_calls_are_counted_all_the_same(telemetry, call):
    """The statistics in the process are exact."""
    before = codoperf_otel.get_performance_stats("leaf").get("total_calls", 0)
    with suppressed():
        call()
    assert codoperf_otel.get_performance_stats("leaf")["total_calls"] == before + 1


def test_spans_are_back_afterwards(telemetry):
    """Outside, and where the key says no, spans are as ever."""
    with suppressed():
        function()
    telemetry.exporter.clear()
    with suppressed(False):
        function()
    function()
    assert [span.name for span in telemetry.spans()] == ["leaf", "function"] * 2


class Encoding(SpanExporter):
    """An exporter that calls a monitored function at its first exports; at each, it would never end."""

    def __init__(self):
        self.names = []

    def export(self, spans):
        """Keep the names."""
        if len(self.names) < 10:
            leaf()
        self.names += [span.name for span in spans]
        return SpanExportResult.SUCCESS


def test_an_export_does_not_record_itself():
    """What an exporter calls would else be a span of the next export, and that one's, for ever."""
    exporter = Encoding()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _telemetry.bind(provider)
    try:
        in_scope()
        provider.force_flush()
    finally:
        _telemetry.bind()
        provider.shutdown()
    assert exporter.names == ["leaf", "scope"]
