"""Interrupt monitored code, at random moments or at each of its places, and say what is left behind.

interrupted.py SETUP MODE AMOUNT FOLDER

SETUP is one of SETUPS, MODE of MODES. AMOUNT is rounds or seconds. It prints one JSON object.
"""

import faulthandler
import gc
import itertools
import json
import logging
import os
import random
import signal
import sys
import threading
import time
import types
from collections import Counter
from pathlib import Path

from interrupting import CONTEXT, PACKAGE, Discard, Places
from opentelemetry import trace
from opentelemetry.context import Context, attach
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
)

import codoperf_otel as co
from codoperf_otel.testing import capture_telemetry

BATCH = 32  # calls after which lists are folded: fewer than usual, so that it comes more often
FOLDER = Path(sys.argv[4])


class Interrupt(BaseException):
    """What a signal handler raises."""


# --- where telemetry goes ---


reader = InMemoryMetricReader()


def instrumented(processor):
    provider = TracerProvider()
    provider.add_span_processor(processor)
    trace.set_tracer_provider(provider)
    co.instrument(tracer_provider=provider, meter_provider=MeterProvider([reader]))
    return reader.get_metrics_data


def lean():
    os.environ["CODOPERF_OTEL_LEAN_SPANS"] = "true"
    return instrumented(BatchSpanProcessor(Discard()))


NEVER_FULL = 1_000_000
"""Spans of a batch. A full one takes a lock of the SDK's, which an interrupt leaves taken, without us too."""


def configured():
    """All into files."""
    os.environ |= dict.fromkeys(
        ("OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"), str(NEVER_FULL)
    )
    return co.configure("interrupted", file=FOLDER / "telemetry").force_flush


SETUPS = {
    "no provider": lambda: int,
    "simple processor": lambda: instrumented(SimpleSpanProcessor(Discard())),
    "batch processor": lambda: instrumented(
        BatchSpanProcessor(Discard(), NEVER_FULL, max_export_batch_size=NEVER_FULL)
    ),
    "lean spans": lean,
    "configure": configured,
}

# --- what is interrupted ---

ran = []


@co.monitor_performance("function")
def function():
    ran.append(1)


@co.monitor_performance("outer")
def nested():
    ran.append(1)
    function()


@co.monitor_performance("failing")
def failing():
    ran.append(1)
    raise ValueError


@co.monitor_performance("slow", min_span_duration=1e-9)
def slow():
    ran.append(1)


@co.monitor_performance("seldom", max_spans_per_second=1e-9)
def seldom():
    ran.append(1)


@co.tool("tool")
def tool():
    ran.append(1)


@co.agent("agent")
def agent():
    tool()
    ran.append(1)


@types.coroutine
def pause():
    yield


@co.monitor_performance("coroutine")
async def coroutine():
    await pause()
    ran.append(1)
    await pause()


@co.monitor_performance("generator")
def generator():
    yield 1
    ran.append(1)
    yield 2


@co.monitor_performance("async generator")
async def async_generator():
    yield 1
    await pause()
    ran.append(1)
    yield 2


def fail():
    try:
        failing()
    except ValueError:
        pass


def scopes():
    with co.performance_context("scope"):
        with co.performance_context("inner"):
            ran.append(1)
        ran.append(1)


def driven(awaitable):
    try:
        while True:
            awaitable.send(None)
    except StopIteration:
        pass


async def drained(source):
    async for _ in source:
        pass


def broken_off():
    for _ in generator():
        ran.append(1)
        break


WORKS = {
    "function": function,
    "agent": agent,
    "scopes": scopes,
    "nested": nested,
    "failing": fail,
    "slow": slow,
    "seldom": seldom,
    "coroutine": lambda: driven(coroutine()),
    "generator": lambda: list(generator()),
    "broken off": broken_off,
    "async generator": lambda: driven(drained(async_generator())),
}
FOLDING = ("function", "agent")  # the others' lists are folded by the same code


def rounds_of(name):
    """How many calls go through all places, those too that are only gone through once per batch."""
    return 2 * BATCH + 1 if name in FOLDING else 8


# --- interrupts ---


def throw(*_):
    raise Interrupt


left = Counter()
interrupts = 0


def note(place):
    """See whether anything is current, and let nothing be."""
    if trace.get_current_span().get_span_context().is_valid or co.current_agent() is not None:
        left[place] += 1
    attach(Context())


def raise_at_each_place(_):
    """One interrupt per call, at each place where signal handlers run."""
    global interrupts
    places = Places(throw, PACKAGE, CONTEXT, for_signals=True)
    for name, work in WORKS.items():
        quiet = 0
        while quiet < rounds_of(name):
            try:
                places.run(work, 1)
                quiet += 1
            except Interrupt:
                interrupts += 1
                for _ in range(BATCH - 8 if quiet > 8 else 0):  # what is rare comes again after a batch
                    work()
                quiet = 0
            note(f"{name}: {places.last}")
    assert "fold" in {code.co_name for code, _ in places.seen}


def repeat(work, end):
    while time.monotonic() < end:
        work()


def raise_at_random_moments(rounds):
    """Signals, whose handler raises, some calls apart."""
    global interrupts
    signal.signal(signal.SIGALRM, throw)
    chance = random.Random(7)
    for _ in range(int(rounds)):
        name, work = chance.choice(list(WORKS.items()))
        end = time.monotonic() + 0.05
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.0001 + chance.random() * 0.0005)
            repeat(work, end)
        except Interrupt:
            interrupts += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        note(name)


monitor = co.PerformanceMonitor()


def export():
    """All that a monitor can be asked."""
    monitor.record_metrics("f", 0.1)
    monitor.export_metrics(FOLDER / "exported.json")
    monitor.clear_metrics()


ACTIONS = (
    function,
    scopes,
    agent,
    fail,
    lambda: driven(coroutine()),
    lambda: list(generator()),
    lambda: co.monitor_performance(f"new {len(ran) % 100}")(lambda: ran.append(1))(),
    co.get_performance_stats,
    lambda: co.get_performance_stats("function"),
    export,
)


def collect():
    """What a reader does, where no lock of the SDK's is taken by this thread."""
    flush()


# at a random moment this thread may have a lock of the SDK's histogram, which its reader would wait for
ANYWHERE = (*ACTIONS, collect) if sys.argv[1] == "configure" else ACTIONS


def act_at_each_place(*actions, rounds):
    """Code that a handler or a finalizer may run, at each place of monitored code.

    In each round another action comes at a place. After as many rounds as there are actions, each has come at
    each place; four rounds on each of three Pythons are that many too.
    """
    first = 4 * sys.version_info.minor
    for turn in range(first, first + int(rounds)):
        turns = itertools.islice(itertools.cycle(actions), turn % len(actions), None)
        places = Places(lambda turns=turns: next(turns)(), PACKAGE, for_signals=True)
        for name, work in WORKS.items():
            for _ in range(2):  # what is gone through once per batch comes twice
                for _ in range(BATCH - 8 if name in FOLDING else 0):
                    work()
                for _ in range(16):
                    places.run(work)
            note(name)


def act_at_random_moments(*actions, seconds):
    """The same by signals."""
    is_busy, turns = [], itertools.cycle(actions)

    def handler(*_):
        if not is_busy:
            is_busy.append(1)
            next(turns)()
            is_busy.clear()

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    work_for(seconds, lambda: None)
    signal.setitimer(signal.ITIMER_REAL, 0)


def act_in_finalizers(*actions, seconds):
    """The same in `__del__` of objects that the cyclic collector finds."""
    turns = itertools.cycle(actions)

    class Node:
        def __init__(self):
            self.itself = self

        def __del__(self):
            next(turns)()

    work_for(seconds, Node)
    gc.collect()


def work_for(seconds, also):
    """All that can be interrupted, in turns."""
    end = time.monotonic() + seconds
    for work in itertools.cycle(WORKS.values()):
        also()
        work()
        note("random")
        if time.monotonic() > end:
            break


MODES = {
    "raise at each place": raise_at_each_place,
    "raise at random moments": raise_at_random_moments,
    "act at each place": lambda rounds: act_at_each_place(*ACTIONS, collect, rounds=rounds),
    "act at random moments": lambda seconds: act_at_random_moments(*ANYWHERE, seconds=seconds),
    "act in finalizers": lambda seconds: act_in_finalizers(*ANYWHERE, seconds=seconds),
    "clear at each place": lambda _: act_at_each_place(co.clear_performance_metrics, rounds=1),
    "clear at random moments": lambda s: act_at_random_moments(co.clear_performance_metrics, seconds=s),
    "clear in finalizers": lambda s: act_in_finalizers(co.clear_performance_metrics, seconds=s),
}


def total():
    """What the statistics have counted, under all names."""
    return co.get_performance_stats().get("total_calls", 0)


def active_calls():
    """The calls that count as running, under their attributes."""
    flush()
    with capture_telemetry() as captured:
        return {
            f"{name} {point.attributes}": point.value
            for name, metric in captured.metrics.items()
            if name.endswith(".active")
            for point in metric.points
            if point.value
        }


def burn(seconds):
    """The CPU time that it took."""
    began = time.thread_time()
    while time.thread_time() < began + seconds:
        pass
    return time.thread_time() - began


def misread_cpu_time():
    """By how many seconds a block's CPU time is less than what is in it, or more than what is around it."""
    with capture_telemetry() as captured:
        began = time.thread_time()
        with co.performance_context("afterwards"):
            least = burn(0.01)
        most = time.thread_time() - began
    told = captured.span("afterwards").attributes["codoperf.cpu.time"]
    return max(least - told, told - most)


def within_five_seconds(ask):
    """What it gives; "hangs" if that takes longer."""
    given = []
    asking = threading.Thread(target=lambda: given.append(ask()), daemon=True)
    asking.start()
    asking.join(60)
    return given[0] if given else "hangs"


for module in [each for name, each in sys.modules.items() if name.startswith("codoperf_otel.")]:
    if "BATCH" in vars(module):
        module.BATCH = BATCH
logging.disable(logging.CRITICAL)
faulthandler.dump_traceback_later(100 + float(sys.argv[3]), exit=True)  # who hangs says where
flush = SETUPS[sys.argv[1]]()
for work in WORKS.values():
    work()
MODES[sys.argv[2]](float(sys.argv[3]))
gc.collect()
result = {
    "interrupts": interrupts,
    "current": left,
    "active": within_five_seconds(active_calls),
    "ran": len(ran),
    "counted": within_five_seconds(total),
    "misread": within_five_seconds(misread_cpu_time),
}
print(json.dumps(result), flush=True)
os._exit(0)
