"""A monitored call against the bare span and histogram record that it replaces."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from statistics import median

import bare
import ours
from opentelemetry import metrics, trace
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, TraceIdRatioBased
from pairs import cpu_a_call, ratio

import codoperf_otel

EMPTY_CALLS = 20_000


def _lean() -> Iterator[str]:
    """What `configure` gives."""
    ours.configure()
    yield _line("monitored, lean spans", codoperf_otel.monitor_performance(bare.work))
    hot = codoperf_otel.monitor_performance("hot", max_spans_per_second=1)(bare.work)
    yield _line("monitored, over the span rate", hot)
    quick = codoperf_otel.monitor_performance("quick", min_span_duration=1)(bare.work)
    yield _line("monitored, below min_span_duration", quick)
    yield _line("tool with process attributes, lean spans", codoperf_otel.tool("work")(bare.work))
    yield _line("agent with process attributes, lean spans", codoperf_otel.agent("work")(bare.work))
    yield _recorded()


def _in_agent() -> Iterator[str]:
    """What a call costs more with an agent in force: both are below a span."""
    ours.configure()
    measure = cpu_a_call(codoperf_otel.monitor_performance(bare.work))

    def in_agent() -> float:
        with codoperf_otel.agent("planner"):
            return measure()

    def in_operation() -> float:
        with codoperf_otel.performance_context("plan"):
            return measure()

    yield f"monitored in an agent, against one in an operation: {ratio(in_agent, in_operation).in_us()}"


def _public() -> Iterator[str]:
    """The SDK's own spans."""
    ours.configure(lean=False)
    yield _line("monitored, the SDK's spans", codoperf_otel.monitor_performance(bare.work))
    yield _recorded()


def _sampled_out(*, lean: bool) -> Iterator[str]:
    sampler = ParentBased(TraceIdRatioBased(0))
    ours.configure(lean=lean, sampler=sampler)
    spans = "lean spans" if lean else "the SDK's spans"
    yield _line(f"monitored, sampled out, {spans}", codoperf_otel.monitor_performance(bare.work), sampler)


def _no_provider() -> Iterator[str]:
    yield _line("monitored, no provider set up", codoperf_otel.monitor_performance(bare.work))
    yield _recorded()


def _disabled() -> Iterator[str]:
    """Providers that the program sets up all the same make nothing."""
    base = bare.call()
    os.environ["OTEL_SDK_DISABLED"] = "true"
    trace.set_tracer_provider(bare.traces())
    metrics.set_meter_provider(bare.metrics())
    codoperf_otel.configure()
    call = codoperf_otel.monitor_performance(bare.work)
    yield f"monitored, OTEL_SDK_DISABLED: {ratio(cpu_a_call(call), cpu_a_call(base)).in_us()}"


def _recorded() -> str:
    """What is recorded of a function that does nothing: the monitoring's own time."""
    monitor = codoperf_otel.PerformanceMonitor()
    call = codoperf_otel.monitor_performance("empty", monitor)(bare.work)
    for _ in range(EMPTY_CALLS):
        call()
    duration = monitor.get_stats("empty")["execution_time"]["p50"]
    cpu_time = median((each.cpu_percent or 0) / 100 * each.execution_time for each in monitor.metrics)
    return f"recorded of an empty function: {duration * 1e6:.1f} us, {cpu_time * 1e6:.1f} us of CPU time"


def _line(kind: str, call: Callable[[], object], sampler: Sampler | None = None) -> str:
    return f"{kind}: {ratio(cpu_a_call(call), cpu_a_call(bare.call(sampler))).in_us()}"


PARTS = {
    "lean": _lean,
    "in-agent": _in_agent,
    "public": _public,
    "sampled-out": lambda: _sampled_out(lean=True),
    "sampled-out-public": lambda: _sampled_out(lean=False),
    "no-provider": _no_provider,
    "disabled": _disabled,
}
