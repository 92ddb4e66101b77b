"""Agents at once, each with a known use of CPU time, waits, programs, tools and a cache.

As a program, known_agents.py ENDPOINT FOLDER, it sends what they did, and prints one JSON object: what is
known of each agent, with the trace in which it ran, and what `agent_report` misreads.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace

import codoperf_otel as co

LOOPED, THREADED = 6, 4
TRIES = 10

PROGRAM = """
import os, time
while time.process_time() < 0.2: pass
os.write(1, str(time.process_time()).encode())
os._exit(0)
"""


def burn(seconds: float) -> None:
    """Use CPU time of this thread."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


class Known:
    """What one agent is known to have used, by clocks that are read here."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.cpu = self.waited = self.programs = self.saved = 0.0
        self.hits = self.misses = self.tools = 0
        self.trace_id = ""

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Its thread does nothing else."""
        began = time.thread_time()
        yield
        self.cpu += time.thread_time() - began

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """It waits."""
        began = time.perf_counter()
        yield
        self.waited += time.perf_counter() - began

    def note_trace(self) -> None:
        """Know the trace that it runs in."""
        self.trace_id = format(trace.get_current_span().get_span_context().trace_id, "032x")


class Slow:
    """A cached function, and how long each key took to compute."""

    def __init__(self, folder: Any) -> None:
        self._took: dict[str, float] = {}
        self._cached: Callable[[str], str] = co.cached_function(
            cache_manager=co.CacheManager(folder), span_events=True
        )(self._compute)

    def _compute(self, key: str) -> str:
        began = time.perf_counter()
        time.sleep(0.02)
        self._took[key] = time.perf_counter() - began
        return key

    def look_up(self, known: Known, number: int) -> None:
        """A miss, and so many hits."""
        for _ in range(number + 1):
            self._cached(known.name)
        known.hits += number
        known.misses += 1
        known.saved += number * self._took[known.name]


@co.tool("program")
def run_program(known: Known) -> None:
    """A tool that is a program."""
    with known.at_work():
        done = subprocess.run([sys.executable, "-S", "-c", PROGRAM], check=True, capture_output=True)
    known.programs += float(done.stdout)
    known.tools += 1


@co.tool("burn")
def burn_tool(known: Known, seconds: float) -> None:
    """A tool that computes."""
    burn(seconds)
    known.tools += 1


async def on_a_loop(known: Known, slow: Slow, number: int) -> None:
    """An agent beside others on a loop."""

    @co.agent(known.name)
    async def run() -> None:
        known.note_trace()
        for _ in range(3):
            with known.at_work():
                burn_tool(known, 0.01 * (number + 1))
            with known.waiting():
                await asyncio.sleep(0.02)
        if number % 3 == 1:
            with known.waiting():
                await asyncio.to_thread(run_program, known)
        with known.at_work():
            slow.look_up(known, number)

    await run()


def in_a_thread(known: Known, slow: Slow, number: int) -> None:
    """An agent in a thread of its own, which waits where it blocks."""

    @co.agent(known.name)
    def run() -> None:
        known.note_trace()
        cpu = time.thread_time()
        burn_tool(known, 0.02 * (number + 1))
        slow.look_up(known, number)
        if number < 2:
            run_program(known)
        known.cpu = time.thread_time() - cpu

    run()
    # on a busy machine a thread waits for its turn, too
    known.waited = co.agent_report().to_dict()[known.name]["wall_seconds"] - known.cpu
    assert known.waited >= 0.02


def run_at_once(slow: Slow, prefix: str) -> dict[str, Known]:
    """Six agents on one loop beside four in threads; what is known of each."""
    looped = [(Known(f"{prefix} looped {number}"), slow, number) for number in range(LOOPED)]
    threaded = [(Known(f"{prefix} threaded {number}"), slow, number) for number in range(THREADED)]

    async def run_looped() -> None:
        await asyncio.gather(*(on_a_loop(*each) for each in looped))

    threads = [threading.Thread(target=in_a_thread, args=each) for each in threaded]
    for thread in threads:
        thread.start()
    asyncio.run(run_looped())
    for thread in threads:
        thread.join()
    return {known.name: known for known, *_ in (*looped, *threaded)}


def is_near(found: float, known: float) -> bool:
    """Within 3 %, or 3 ms."""
    return abs(found - known) <= max(0.03 * known, 0.003)


def misread(known: Known, found: dict[str, float]) -> dict[str, tuple[float, float]]:
    """What of an agent's figures is not what is known of it: by name, what was found and what is known."""
    return {
        name: (value, vars(known)[name])
        for name, value in found.items()
        if not is_near(value, vars(known)[name])
    }


def reported(name: str) -> dict[str, float]:
    """What the report has of an agent."""
    found = co.agent_report().to_dict()[name]
    own = found["self"]
    return {
        "cpu": own["cpu_seconds"],
        "waited": found["waiting_seconds"],
        "programs": own["child_process_cpu_seconds"] or 0,
        "saved": own["cache_saved_seconds"] or 0,
        "tools": own["tool_calls"],
        "hits": own["cache_hits"],
        "misses": own["cache_lookups"] - own["cache_hits"],
    }


def best_run_at_once(slow: Slow) -> tuple[dict[str, Known], dict[str, Any]]:
    """Run them until the report has every figure right, some times at most; else also what it misreads.

    The machine may take a thread's turn away between a clock that is read here and one that is read there.
    """
    for number in range(TRIES):
        agents = run_at_once(slow, f"run {number}")
        wrong = {name: misread(known, reported(name)) for name, known in agents.items()}
        wrong = {name: figures for name, figures in wrong.items() if figures}
        if not wrong:
            break
    return agents, wrong


def main(endpoint: str, folder: str) -> None:
    """Run them with an exporter."""
    with co.configure("known-agents", endpoint=endpoint, metric_export_interval=3600):
        agents, wrong = best_run_at_once(Slow(folder))
    print(json.dumps({"agents": {name: vars(known) for name, known in agents.items()}, "wrong": wrong}))


if __name__ == "__main__":
    main(*sys.argv[1:])
