"""Eight threads on one function, and what it costs that a pool's work belongs to who handed it over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Thread

import bare
import ours
from pairs import cpu_a_call, ratio

import codoperf_otel
from codoperf_otel import propagate_context

CALLS = 8000
THREADS = 8
ROUNDS = 21


def _monitored() -> Iterator[str]:
    exported = ours.configure()
    monitor = codoperf_otel.PerformanceMonitor()
    call = codoperf_otel.monitor_performance("work", monitor)(bare.work)
    yield f"monitored, {_line(call)}"
    made = CALLS * 2 * (ROUNDS + 1)
    counted = {"histogram": _recorded(exported), "statistics": monitor.get_stats("work")["total_calls"]}
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


def _recorded(exported: ours.Kept) -> int:
    codoperf_otel.configure("benchmark").force_flush()
    return sum(
        point.count
        for resource in exported.last.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == "codoperf.function.duration"
        for point in metric.data.data_points
    )


def _pool() -> Iterator[str]:
    """CPU time of the process, both threads' included."""
    submit = ThreadPoolExecutor.submit  # before `configure` replaces it
    ours.configure()
    with ThreadPoolExecutor(1) as pool, codoperf_otel.performance_context("operation"):
        base = cpu_a_call(lambda: submit(pool, bare.work).result())
        lent = ratio(cpu_a_call(lambda: pool.submit(bare.work).result()), base)
        yield f"submit and result of a pool, lent: {lent.in_us()}"
        given = ratio(cpu_a_call(lambda: submit(pool, propagate_context(bare.work)).result()), base)
        yield f"the same by propagate_context: {given.in_us()}"


PARTS = {"monitored": _monitored, "bare": _bare, "pool": _pool}
