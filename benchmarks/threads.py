"""Eight threads on one function against the same calls on one thread: wall time, and exact counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from threading import Thread

import bare
import ours
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from pairs import ratio

import codoperf_otel

CALLS = 8000
THREADS = 8
ROUNDS = 21


def _monitored() -> Iterator[str]:
    reader = InMemoryMetricReader()
    ours.configure(meter_provider=MeterProvider([reader]))
    monitor = codoperf_otel.PerformanceMonitor()
    call = codoperf_otel.monitor_performance("work", monitor)(bare.work)
    yield f"monitored, {_line(call)}"
    made = CALLS * 2 * (ROUNDS + 1)
    counted = {"histogram": _recorded(reader), "statistics": monitor.get_stats("work")["total_calls"]}
    if set(counted.values()) != {made}:
        raise SystemExit(f"{made} calls were made, but counted were {counted}")
    yield f"monitored, counts exact: {made} calls in histogram and statistics"


def _bare() -> Iterator[str]:
    yield f"bare, {_line(bare.call())}"


def _line(call: Callable[[], object]) -> str:
    pair = ratio(partial(_seconds, THREADS, call), partial(_seconds, 1, call), ROUNDS)
    return f"the same calls on {THREADS} threads and on one: {pair}"


def _seconds(number: int, call: Callable[[], object]) -> float:
    def loop() -> None:
        for _ in range(CALLS // number):
            call()

    threads = [Thread(target=loop) for _ in range(number)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


def _recorded(reader: InMemoryMetricReader) -> int:
    data = reader.get_metrics_data()
    return sum(
        point.count
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == "codoperf.function.duration"
        for point in metric.data.data_points
    )


PARTS = {"monitored": _monitored, "bare": _bare}
