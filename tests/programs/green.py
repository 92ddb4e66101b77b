"""Monitored functions in gevent's greenlets, all of which share one thread: whose CPU time is whose?

It prints one JSON object: what each function burnt, and what its spans say.
"""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
from collections import Counter  # noqa: E402
from concurrent.futures import ThreadPoolExecutor  # noqa: E402

import gevent  # noqa: E402
from opentelemetry import trace  # noqa: E402

import codoperf_otel as co  # noqa: E402
from codoperf_otel.testing import capture_telemetry  # noqa: E402

burnt = Counter()
by_call = Counter()


def burn(name, seconds):
    """Use CPU time, and keep account of it, also on the span of the call that does."""
    began = now = time.thread_time()
    while now - began < seconds:
        now = time.thread_time()
    burnt[name] += now - began
    call = gevent.getcurrent(), name
    by_call[call] += now - began
    co.current_operation().set("burnt", by_call[call])


@co.monitor_performance("idle")
def idle():
    time.sleep(0.1)


@co.monitor_performance("busy")
def busy():
    time.sleep(0.02)
    burn("busy", 0.05)


@co.monitor_performance("by turns")
def by_turns():
    for _ in range(10):
        burn("by turns", 0.003)
        gevent.sleep(0)


@co.monitor_performance("items")
def items():
    for number in range(10):
        burn("items", 0.003)
        yield number


@co.monitor_performance("inner")
def inner():
    burn("inner", 0.01)
    gevent.sleep(0)
    burn("inner", 0.01)


@co.monitor_performance("outer")
def outer():
    inner()
    burn("outer", 0.01)


def consume():
    for _ in items():
        gevent.sleep(0)


def scope():
    with co.performance_context("scope"):
        time.sleep(0.05)


with capture_telemetry():
    gevent.spawn(outer).join()  # the first call of a process loads modules
burnt.clear()
with capture_telemetry() as captured:
    gevent.joinall([gevent.spawn(work) for work in (idle, busy, by_turns, by_turns, consume, outer, scope)])
    with ThreadPoolExecutor(2) as pool:  # greenlets too, after patching
        list(pool.map(lambda work: work(), (idle, busy)))
    thread = threading.Thread(target=busy)
    thread.start()
    thread.join()

spans = [
    [
        span.name,
        span.parent,
        span.attributes.get("codoperf.cpu.time"),
        span.attributes.get("codoperf.cpu.self_time"),
        span.attributes.get("burnt", 0),
    ]
    for span in captured.spans
]
counted = {
    name: sum(point.value for point in captured.metric(f"codoperf.{name}.cpu.time").points)
    for name in ("function", "operation")
    if f"codoperf.{name}.cpu.time" in captured.metrics
}
active = sum(point.value for point in captured.metric("codoperf.function.active").points)
result = {
    "burnt": burnt,
    "spans": spans,
    "counted": counted,
    "active": active,
    "current": trace.get_current_span().get_span_context().is_valid,
}
print(json.dumps(result))
