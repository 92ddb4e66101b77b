"""A figure can be read in several ways, of which not every platform has each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from codoperf_otel._telemetry.interrupts import raise_interrupt

T = TypeVar("T")


def first_that_works(*ways: Callable[[], T]) -> T | None:
    """What the first way returns that does not fail here; None where each of them fails."""
    for way in ways:
        try:
            return way()
        except Exception as error:  # no way is sure: files, calls and psutil's figures differ by platform
            raise_interrupt(error)
            continue
    return None
