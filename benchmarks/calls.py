"""A monitored call against the bare span and histogram record that it replaces."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import bare
import ours
from opentelemetry import metrics, trace
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, TraceIdRatioBased
from pairs import cpu_a_call, ratio

import codoperf_otel


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


def _public() -> Iterator[str]:
    """The SDK's own spans."""
    ours.configure(lean=False)
    yield _line("monitored, the SDK's spans", codoperf_otel.monitor_performance(bare.work))


def _sampled_out(*, lean: bool) -> Iterator[str]:
    sampler = ParentBased(TraceIdRatioBased(0))
    ours.configure(lean=lean, sampler=sampler)
    spans = "lean spans" if lean else "the SDK's spans"
    yield _line(f"monitored, sampled out, {spans}", codoperf_otel.monitor_performance(bare.work), sampler)


def _no_provider() -> Iterator[str]:
    yield _line("monitored, no provider set up", codoperf_otel.monitor_performance(bare.work))


def _disabled() -> Iterator[str]:
    """Providers that the program sets up all the same make nothing."""
    base = bare.call()
    os.environ["OTEL_SDK_DISABLED"] = "true"
    trace.set_tracer_provider(bare.traces())
    metrics.set_meter_provider(bare.metrics())
    codoperf_otel.configure()
    call = codoperf_otel.monitor_performance(bare.work)
    yield f"monitored, OTEL_SDK_DISABLED: {ratio(cpu_a_call(call), cpu_a_call(base)).in_us()}"


def _line(kind: str, call: Callable[[], object], sampler: Sampler | None = None) -> str:
    return f"{kind}: {ratio(cpu_a_call(call), cpu_a_call(bare.call(sampler))).in_us()}"


PARTS = {
    "lean": _lean,
    "public": _public,
    "sampled-out": lambda: _sampled_out(lean=True),
    "sampled-out-public": lambda: _sampled_out(lean=False),
    "no-provider": _no_provider,
    "disabled": _disabled,
}
