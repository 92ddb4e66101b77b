"""The child processes that run, by pid.

A signal handler may wait for processes between any two lines, and another thread may reap one before it is
known who started it. So nothing here takes a lock: who removes an entry from a dict counts it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from codoperf_otel import _forks
from codoperf_otel._calls.invocations import OpenBudget
from codoperf_otel._calls.lineages import CHILD_PROCESS_NS, Lineage
from codoperf_otel._calls.sites import SiteForAgent
from codoperf_otel._calls.totals import PEAK
from codoperf_otel._children.meter import OpenChildren, Peak
from codoperf_otel._readings import other_processes
from codoperf_otel._readings.memory import KIB
from codoperf_otel._telemetry import names

if TYPE_CHECKING:
    from resource import struct_rusage

T = TypeVar("T")

MAX_RUNNING = 10_000
"""Processes that are known at a time; programs may start more that nobody ever waits for."""

ROUNDING = 2 << 20
"""Bytes by which two readings of one mark may differ: each CPU counts pages for itself."""

MAX_KEPT = 256
"""Ends and processes that are kept because another thread may be about to say more of them."""


class Child:
    """A child process: the site or the agent alone, the open meter and the budgets that it counts for.

    `mark` is this process's own memory mark at the child's start, None where it is not known; `sampled` the
    highest memory of the child that was sampled.
    """

    __slots__ = ("budgets", "mark", "meter", "pid", "sampled", "site")

    def __init__(
        self,
        site: SiteForAgent | Lineage,
        meter: OpenChildren | None,
        mark: int | None,
        pid: int = 0,
        budgets: Sequence[OpenBudget] = (),
    ) -> None:
        self.site = site
        self.meter = meter
        self.mark = mark
        self.sampled = 0
        self.pid = pid
        self.budgets = budgets
        for budget in budgets:
            budget.programs.add(self)

    def end(self, usage: struct_rusage) -> None:
        """Count what the child took."""
        cpu_ns = round((usage.ru_utime + usage.ru_stime) * 1e9)
        self.site.add_child_process(cpu_ns)
        peak = self._peak(usage) if self.meter is not None or self.budgets else None
        if self.meter is not None:
            self.meter.ended.append((cpu_ns, peak))
        for budget in self.budgets:
            budget.programs.discard(self)
            budget.add(CHILD_PROCESS_NS, cpu_ns)
            budget.add(PEAK, 0 if peak is None else peak[0])

    def cpu_ns(self) -> int:
        """The CPU time that it and those below it have used so far."""
        return other_processes.cpu_ns(self.pid)

    def memory(self) -> int:
        """Its highest memory that was sampled."""
        return self.sampled

    def _peak(self, usage: struct_rusage) -> Peak | None:
        """The kernel's figure where it is the child's, and not ours at its start; else what was sampled."""
        highest = usage.ru_maxrss * KIB
        if self.mark is not None and highest > max(self.mark + ROUNDING, self.sampled - ROUNDING):
            return highest, names.KERNEL
        return (self.sampled, names.SAMPLED) if self.sampled else None


running: dict[int, Child] = {}
starting: set[object] = set()
"""The starts that are under way: what ends meanwhile may be a process whose pid is not known yet."""
_ended_early: dict[int, struct_rusage] = {}
_reaped: dict[int, Child] = {}
"""Those of which a wait has said that somebody else has reaped them: it may be about to say so here."""


def add(pid: int, child: Child) -> None:
    """Know a child that has started, and may have ended by now."""
    if len(running) >= MAX_RUNNING:
        _forget_oldest(running)
    _reaped.pop(pid, None)
    running[pid] = child
    usage = _ended_early.pop(pid, None)
    if usage is not None:
        _end(pid, usage)


def ended(pid: int, usage: struct_rusage) -> None:
    """Count what a process took that has ended, if it is one of those known here."""
    if not _end(pid, usage) and starting:
        _keep(_ended_early, pid, usage)
        if _end(pid, usage):  # it became known in between
            _ended_early.pop(pid, None)


def _end(pid: int, usage: struct_rusage) -> bool:
    child = running.pop(pid, None) or _reaped.pop(pid, None)
    if child is not None:
        child.end(usage)
    return child is not None


def end_start(beginning: object) -> None:
    """A start has been made, or has failed."""
    starting.discard(beginning)
    if not starting:
        _ended_early.clear()


def reaped(pid: int) -> None:
    """Somebody else has reaped a process, maybe a wait that is about to come here with what it took."""
    child = running.get(pid)
    if child is not None:
        _keep(_reaped, pid, child)
        if running.pop(pid, None) is None:  # counted in between
            _reaped.pop(pid, None)


def _keep(known: dict[int, T], pid: int, value: T) -> None:
    if len(known) >= MAX_KEPT:
        _forget_oldest(known)
    known[pid] = value


def _forget_oldest(known: dict[int, Any]) -> None:
    known.pop(next(iter(list(known)), 0), None)


@_forks.in_child
def _forked() -> None:
    for known in (running, starting, _ended_early, _reaped):
        known.clear()
