"""Two things measured in turn, so that a machine that slows down slows both."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median, quantiles

CALLS = 100
ROUNDS = 201

Measure = Callable[[], float]
"""Measures once: seconds, of whatever clock."""


@dataclass(frozen=True)
class Pair:
    """Medians of both, and the median and the quartiles of their ratios, pair by pair."""

    measured: float
    base: float
    times: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.times:.3f} x ({self.low:.3f}-{self.high:.3f})"

    def in_us(self) -> str:
        """The ratio, and what both take, where that is microseconds."""
        return f"{self}, {self.measured * 1e6:.2f} us against {self.base * 1e6:.2f} us"


def ratio(measured: Measure, base: Measure, rounds: int = ROUNDS) -> Pair:
    """Measure both in short rounds, each first in every other round; garbage is collected as always."""
    measured(), base()  # warm
    gc.collect()
    gc.freeze()  # what was imported and set up is no garbage of either
    pairs = [_once(measured, base, turned=bool(number % 2)) for number in range(rounds)]
    ratios = [ours / theirs for ours, theirs in pairs]
    low, _, high = quantiles(ratios, n=4)
    return Pair(
        median(ours for ours, _ in pairs), median(base for _, base in pairs), median(ratios), low, high
    )


def _once(measured: Measure, base: Measure, *, turned: bool) -> tuple[float, float]:
    if turned:
        theirs = base()
        return measured(), theirs
    return measured(), base()


def cpu_a_call(call: Callable[[], object], calls: int = CALLS) -> Measure:
    """CPU seconds of the whole process, its exporter threads included, that one call takes."""

    def measure() -> float:
        began = time.process_time()
        for _ in range(calls):
            call()
        return (time.process_time() - began) / calls

    return measure


def with_bytecode() -> dict[str, str]:
    """The environment of processes whose imports are measured: after the first one nothing is compiled."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
