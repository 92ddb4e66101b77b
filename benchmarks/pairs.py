"""Two things measured in turn, so that a machine that slows down slows both."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median


def ratio(
    measured: Callable[[], float], base: Callable[[], float], rounds: int
) -> tuple[float, float, float]:
    """Median of `measured`, median of `base`, and the median of their ratios, pair by pair."""
    measured(), base()  # warm
    pairs = [(measured(), base()) for _ in range(rounds)]
    return (
        median(ours for ours, _ in pairs),
        median(theirs for _, theirs in pairs),
        median(ours / theirs for ours, theirs in pairs),
    )
