"""What it costs to follow a task of asyncio's: each of its steps, and its creation and end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from time import thread_time

import ours
from pairs import Measure, ratio

import codoperf_otel
from codoperf_otel.sdk import new_event_loop

STEPS = 1000
TASKS = 300


async def _steps() -> None:
    for _ in range(STEPS):
        await asyncio.sleep(0)


async def _empty() -> None:
    pass


async def _a_step() -> float:
    """Seconds that a step of a task takes, the loop's part included."""
    task = asyncio.create_task(_steps())
    began = thread_time()
    await task
    return (thread_time() - began) / STEPS


async def _a_task() -> float:
    """Seconds that a task's creation and await take."""
    began = thread_time()
    for _ in range(TASKS):
        await asyncio.create_task(_empty())
    return (thread_time() - began) / TASKS


def _tasks() -> Iterator[str]:
    """CPU time of the loop's thread; in both loops one task runs at a time."""
    ours.configure()
    for kind, inside in (("outside any call", nullcontext), ("lent to an operation", _operation)):
        for what, work in (("an empty step", _a_step), ("creation and await", _a_task)):
            with asyncio.Runner(loop_factory=new_event_loop) as followed, asyncio.Runner() as plain:
                times = ratio(_added(followed, plain, inside, work), _on(plain, inside, work))
                yield f"{what} of a task {kind}, added by following it: {times.in_us()}"


def _operation() -> codoperf_otel.performance_context:
    return codoperf_otel.performance_context("operation")


def _on(runner: asyncio.Runner, inside: Callable[[], object], work: Callable[[], object]) -> Measure:
    async def main() -> float:
        with inside():
            return await work()

    return lambda: runner.run(main())


def _added(
    followed: asyncio.Runner, plain: asyncio.Runner, inside: Callable[[], object], work: Callable[[], object]
) -> Measure:
    with_us, without = _on(followed, inside, work), _on(plain, inside, work)
    return lambda: with_us() - without()


PARTS = {"tasks": _tasks}
