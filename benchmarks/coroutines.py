"""Monitored coroutines and generators, driven by hand: no event loop's own cost is in the figures."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from types import coroutine
from typing import Any

import bare
import ours
from pairs import Measure, cpu_a_call, ratio

import codoperf_otel

ITEMS = 2000


@coroutine
def _suspended() -> Generator[None, None, None]:
    yield


async def _quick() -> int:
    return 10


async def _waits() -> int:
    await _suspended()
    return 10


def _bare() -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The two with their bodies in a span and a histogram record."""
    tracer, duration = bare.instruments()

    async def quick() -> int:
        began = time.perf_counter()
        with tracer.start_as_current_span(bare.NAME, attributes=bare.SPAN_ATTRIBUTES):
            result = 10
        duration.record(time.perf_counter() - began, bare.METRIC_ATTRIBUTES)
        return result

    async def waits() -> int:
        began = time.perf_counter()
        with tracer.start_as_current_span(bare.NAME, attributes=bare.SPAN_ATTRIBUTES):
            await _suspended()
            result = 10
        duration.record(time.perf_counter() - began, bare.METRIC_ATTRIBUTES)
        return result

    return quick, waits


def _coroutines() -> Iterator[str]:
    ours.configure()
    kinds = ("does not suspend", "suspends once")
    for kind, work, base in zip(kinds, (_quick, _waits), _bare(), strict=True):
        monitored = codoperf_otel.monitor_performance(work)
        times = ratio(
            cpu_a_call(lambda call=monitored: _drive(call())), cpu_a_call(lambda b=base: _drive(b()))
        )
        yield f"monitored coroutine that {kind}, lean spans: {times.in_us()}"


def _numbers() -> Iterator[int]:
    yield from range(ITEMS)


async def _async_numbers() -> AsyncIterator[int]:
    for number in range(ITEMS):
        yield number


def _generators() -> Iterator[str]:
    ours.configure()
    for kind, work, consume in (
        ("generator", _numbers, _consume),
        ("async generator", _async_numbers, _consume_async),
    ):
        added = _added_an_item(codoperf_otel.monitor_performance(work), work, consume)
        yield f"{kind}, added an item, of a bare call: {ratio(added, cpu_a_call(bare.call())).in_us()}"


def _added_an_item(monitored: Any, plain: Any, consume: Callable[[Any], None]) -> Measure:
    with_us = cpu_a_call(lambda: consume(monitored()), 1)
    without = cpu_a_call(lambda: consume(plain()), 1)
    return lambda: (with_us() - without()) / ITEMS


def _consume(items: Iterator[int]) -> None:
    for _ in items:
        pass


def _consume_async(items: AsyncIterator[int]) -> None:
    async def consume() -> None:
        async for _ in items:
            pass

    _drive(consume())


def _drive(running: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end, resuming it at once wherever it suspends."""
    try:
        while True:
            running.send(None)
    except StopIteration as stop:
        return stop.value


PARTS = {"coroutines": _coroutines, "generators": _generators}
