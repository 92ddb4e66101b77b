"""What the sampler's thread takes at 10 samples per second, as a share of a CPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median, quantiles
from threading import enumerate as threads

from codoperf_otel import ResourceTracker
from codoperf_otel._readings import sampler

WINDOWS = 8
SECONDS = 2


def _tracker() -> Iterator[str]:
    tracker = ResourceTracker(sample_interval=0.1)
    tracker.start_tracking("operation")
    yield _line("a tracked operation, 10 snapshots per second")
    tracker.stop_tracking("operation")


def _nothing() -> Iterator[str]:
    sampler.shared.subscribe(lambda _: None, 0.1)
    yield _line("nothing is done, 10 times per second")


def _line(what: str) -> str:
    clock = _clock("codoperf-otel-sampler")
    time.sleep(1)  # warm
    shares = [100 * _share(clock) for _ in range(WINDOWS)]
    low, _, high = quantiles(shares, n=4)
    return f"{what}: {median(shares):.3f} % of a CPU ({low:.3f}-{high:.3f})"


def _share(clock: Callable[[], float]) -> float:
    began, cpu = time.perf_counter(), clock()
    time.sleep(SECONDS)
    return (clock() - cpu) / (time.perf_counter() - began)


def _clock(name: str) -> Callable[[], float]:
    """The CPU clock of the thread of this name."""
    (found,) = (thread.ident for thread in threads() if thread.name == name)
    number = time.pthread_getcpuclockid(found or 0)
    return lambda: time.clock_gettime(number)


PARTS = {"tracker": _tracker, "nothing": _nothing}
