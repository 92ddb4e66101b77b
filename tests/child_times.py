"""CPU time of programs that this process has started."""

from __future__ import annotations


def children_cpu() -> float:
    """The CPU seconds of all children that this process has waited for."""
    from resource import RUSAGE_CHILDREN, getrusage  # not at the top: there is none on Windows

    usage = getrusage(RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
