"""Nest monitored calls of every kind, the first of the process among them, and print their spans.

timed.py SETUP CALLS FOLDER

SETUP is ``instrument``, ``lean spans`` or ``configure``. A span is printed as its id, its parent's, start and
end in nanoseconds, and its attributes that are floating-point numbers.
"""

import asyncio
import json
import os
import sys

from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import codoperf_otel as co


@co.monitor_performance
def leaf():
    return sum(range(50))


@co.monitor_performance(min_span_duration=1e-9)
def late():
    return 1


@co.tool
def tool():
    leaf()
    late()


@co.monitor_performance
def items():
    leaf()
    yield 1
    leaf()
    yield 2


@co.monitor_performance
async def coroutine():
    leaf()
    await asyncio.sleep(0)
    leaf()


@co.monitor_performance
async def async_items():
    leaf()
    yield 1
    await coroutine()


@co.agent
async def agent():
    tool()
    for _ in items():
        pass
    async for _ in async_items():
        pass
    await asyncio.gather(coroutine(), coroutine())
    async with co.performance_context("inner scope"):
        leaf()


@co.monitor_performance
def root(calls):
    with co.performance_context("scope"):
        for _ in range(calls):
            asyncio.run(agent())


spans = InMemorySpanExporter()
setup, calls, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
if setup == "configure":
    co.configure("timed", file=folder)
    trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(spans))
else:
    os.environ["CODOPERF_OTEL_LEAN_SPANS"] = "true" if setup == "lean spans" else "false"
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    co.instrument(tracer_provider=provider, meter_provider=MeterProvider())
root(calls)
told = [
    {
        "name": span.name,
        "id": span.context.span_id,
        "parent": span.parent and span.parent.span_id,
        "start": span.start_time,
        "end": span.end_time,
        "floats": {name: value for name, value in span.attributes.items() if isinstance(value, float)},
    }
    for span in spans.get_finished_spans()
]
print(json.dumps(told))
