"""How many time-outs that a signal handler raises does the program not see, with plain spans and with ours?

timed_out.py PROCESSOR MODE ROUNDS

PROCESSOR is ``simple`` or ``batch``, MODE ``places`` (each place of OpenTelemetry's code and of ours) or
``random`` (ROUNDS moments). It prints one JSON object: how many of how many were lost, by who makes the span.
"""

import functools
import json
import logging
import os
import random
import signal
import sys
import time

from interrupting import OPENTELEMETRY, PACKAGE, Discard, Places
from opentelemetry import trace
from opentelemetry.context import Context, attach
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

import codoperf_otel as co


def handler(*_):
    raise TimeoutError("time is up")


def work():
    sum(range(200))


def plain():
    with tracer.start_as_current_span("work"):
        work()


@co.monitor_performance
def monitored():
    work()


@co.tool
def tool():
    work()


def scope():
    with co.performance_context("work"):
        work()


def lost_at_places(func):
    """A time-out at each place, one per call."""
    lost = []
    places = Places(lambda: signal.raise_signal(signal.SIGALRM), OPENTELEMETRY, PACKAGE, for_signals=True)
    known = -1
    while known < len(places.seen):
        known = len(places.seen)
        try:
            places.run(func, 1)
            if known < len(places.seen):
                lost.append(places.last)
        except TimeoutError:
            pass
        attach(Context())
    return {"lost": lost, "of": known}


def repeat(func, end):
    """A function of its own: from Python 3.13 on, a `try` does not cover the jump of a `while` in it."""
    while time.monotonic() < end:
        func()


def lost_at_random(func, rounds):
    """A time-out some calls after it was set, again and again."""
    chance, lost = random.Random(7), []
    for _ in range(rounds):
        end = time.monotonic() + 0.02
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.0005 + chance.random() * 0.0005)
            repeat(func, end)
            lost.append(func.__name__)
        except TimeoutError:
            pass
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        attach(Context())
    return {"lost": lost, "of": rounds}


logging.disable(logging.CRITICAL)
# never full: a full batch takes a lock of the SDK's, which an interrupt leaves taken, without us too
batch = functools.partial(BatchSpanProcessor, max_queue_size=1_000_000, max_export_batch_size=1_000_000)
processor = {"simple": SimpleSpanProcessor, "batch": batch}[sys.argv[1]](Discard())
provider = TracerProvider()
provider.add_span_processor(processor)
tracer = provider.get_tracer("plain")
trace.set_tracer_provider(provider)
co.instrument(tracer_provider=provider, meter_provider=MeterProvider([InMemoryMetricReader()]))
signal.signal(signal.SIGALRM, handler)
result = {}
for func in (plain, monitored, tool, scope):
    measure = (
        lost_at_places
        if sys.argv[2] == "places"
        else functools.partial(lost_at_random, rounds=int(sys.argv[3]))
    )
    result[func.__name__] = measure(func)
print(json.dumps(result), flush=True)
os._exit(0)
