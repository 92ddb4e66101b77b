"""The memory of child processes while they run.

At their end the kernel reports it only where it is above this process's own.
"""

from __future__ import annotations

from codoperf_otel._children import table
from codoperf_otel._readings import other_processes, sampler

INTERVAL = 0.1
"""Seconds between samples."""


def begin() -> None:
    """Sample as long as a child process runs."""
    sampler.shared.subscribe(_sample, INTERVAL)


def _sample(_: int) -> None:
    children = list(table.running.items())
    for pid, child in children:
        child.sampled = max(child.sampled, other_processes.high_water_mark(pid))
    if not children:
        sampler.shared.unsubscribe(_sample)
        if table.running:  # another has started in between
            begin()
