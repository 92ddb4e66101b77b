"""Interrupt what opens more than a call, once at each of its places, and say what stays open.

It prints one JSON object: the interrupts, what was left by place, and how often what a thread ran for a
call was not given to it.
"""

import gc
import json
import logging
import tracemalloc

from interrupting import CONTEXT, PACKAGE, Discard, Places
from opentelemetry.context import Context, attach
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

import codoperf_otel as co
from codoperf_otel._calls import cells, late_events, thread_clock
from codoperf_otel._calls.context import current_call
from codoperf_otel._calls.thread_clock import thread
from codoperf_otel._readings import allocations, peak, sampler

MS = 1_000_000


class Interrupt(BaseException):
    """What a signal handler raises."""


def throw():
    raise Interrupt


class Clock:
    """A CPU clock of the thread that goes on only where something burns."""

    now_ns = 0

    def __call__(self):
        return self.now_ns

    def burn(self):
        self.now_ns += MS


budget = co.Budget(memory_mb=1e6, tool_calls=100, warn_at=1e-9)


@co.tool("tool")
def tool():
    pass


@co.agent("function", budget=budget)
def function():
    tool()


@co.agent("coroutine", budget=budget)
async def coroutine():
    tool()


@co.agent("generator", budget=budget)
def generator():
    tool()
    yield


@co.agent("async generator", budget=budget)
async def async_generator():
    tool()
    yield


def block():
    with co.agent("block", budget=budget):
        tool()


def tracked():
    tracker = co.ResourceTracker(allocations=True)
    tracker.start_tracking("tracked")
    tracker.stop_tracking("tracked")


def driven(awaitable):
    try:
        while True:
            awaitable.send(None)
    except StopIteration:
        pass


async def drained():
    async for _ in async_generator():
        pass


WORKS = {
    "function": function,
    "coroutine": lambda: driven(coroutine()),
    "generator": lambda: list(generator()),
    "async generator": lambda: driven(drained()),
    "block": block,
    "allocations": co.track_resource_usage("allocations", allocations=True)(tool),
    "tracked": tracked,
}


def what_is_open():
    """What should be nothing."""
    found = {
        "windows": bool(peak._mark._open),
        "calls": len(list(cells.calls_in_flight())),
        "late events": len(late_events.waiting),
        "allocations": len(allocations._open),
        "tracing": tracemalloc.is_tracing(),
        "sampled": len(sampler.shared._turns),
    }
    return {name: number for name, number in found.items() if number}


places = Places(throw, PACKAGE, CONTEXT, for_signals=True)


def at_each_place(work):
    """Run it until no place of it is new, with an interrupt at each. What works share is interrupted once."""
    quiet = 0
    while quiet < 3:
        try:
            places.run(work, 1)
            quiet += 1
        except Interrupt:
            quiet = 0
        if not quiet:
            yield places.last


def left_by(name, work):
    """What stays open, and where the interrupt came."""
    global interrupts
    for place in at_each_place(work):
        interrupts += 1
        gc.collect()  # a run and its budget refer to each other
        if found := what_is_open():
            left[f"{name}: {place}"] = found
            break


def lost_shares():
    """Where what was run for a call, which still runs, was not given to it once."""
    clock = thread_clock.thread_time_ns = Clock()
    thread.clock.since_ns = 0
    with co.performance_context("lender"):
        lent, lender, inside = co.propagate_context(clock.burn), current_call(), attach(Context())
        thread.clock.charge_to(None)
        for place in at_each_place(lent):
            is_charged = thread.clock.current is not None or current_call() is not None
            burned, clock.now_ns = clock.now_ns, 0
            if is_charged or lender.shares.take() != (burned, burned):
                yield place
        inside.var.reset(inside)


logging.disable(logging.CRITICAL)
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(Discard()))
co.instrument(tracer_provider=provider)
interrupts, left = 0, {}
for work in WORKS.values():
    work()
gc.freeze()
for name, work in WORKS.items():
    left_by(name, work)
print(json.dumps({"interrupts": interrupts, "left": left, "lost": list(lost_shares())}))
