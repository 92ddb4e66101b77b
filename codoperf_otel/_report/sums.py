"""Sums of figures of which some were not measured: what nothing measured is ``None``, never 0."""

from __future__ import annotations

import math
from collections.abc import Iterable

from codoperf_otel._telemetry.attributes import NANOSECOND_DIGITS


def total(values: Iterable[float | None]) -> float | None:
    """The sum of what was measured, in seconds.

    >>> total([0.1, None, 0.2]), total([None])
    (0.3, None)
    """
    measured = [value for value in values if value is not None]
    return round(sum(measured), NANOSECOND_DIGITS) if measured else None


def highest(values: Iterable[float | None]) -> float | None:
    """The greatest of what was measured."""
    return max((value for value in values if value is not None), default=None)


def ratio(part: float | None, whole: float | None) -> float | None:
    """One divided by the other, where there is something to divide, and numbers that are not beyond float."""
    if part is None or not whole:
        return None
    try:
        found = part / whole
    except OverflowError:
        return None
    return found if math.isfinite(found) else None
