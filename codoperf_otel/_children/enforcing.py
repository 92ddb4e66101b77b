"""Ends the programs of agents that have used more than their budget, where that is asked for. Linux only."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

from codoperf_otel import _forks
from codoperf_otel._calls.foreign_code import failed
from codoperf_otel._children import table
from codoperf_otel._children.table import Child
from codoperf_otel._readings import other_processes, sampler

INTERVAL = 0.1
"""Seconds between looks."""

GRACE_NS = 2_000_000_000
"""From SIGTERM to SIGKILL."""

_asked: dict[Child, tuple[int, list[int]]] = {}
"""The programs that were asked to end: when, and descriptors of them and of the processes below them."""


def begin() -> None:
    """Look at budgets as long as such a program runs."""
    sampler.shared.subscribe(_enforce, INTERVAL)


def _enforce(now_ns: int) -> None:
    watched = [child for child in list(table.running.values()) if _may_be_ended(child)]
    for child in watched:
        if child not in _asked and _is_over(child):
            _asked[child] = now_ns, list(_descriptors(child.pid))
            _send(child, signal.SIGTERM)
    for child, (asked_ns, _) in list(_asked.items()):
        if now_ns - asked_ns >= GRACE_NS:
            _send(child, signal.SIGKILL)
            _let_go(child)
    if not watched and not _asked:
        sampler.shared.unsubscribe(_enforce)
        if any(map(_may_be_ended, list(table.running.values()))):  # another has started in between
            begin()


def _may_be_ended(child: Child) -> bool:
    return any(budget.ends_programs for budget in child.budgets)


def _is_over(child: Child) -> bool:
    return any(budget.ends_programs and budget.is_exceeded() for budget in child.budgets)


def _descriptors(pid: int) -> Iterator[int]:
    """Descriptors of a child and of the processes below it. A pid might be another's by now, they are not."""
    below = {os.getpid()}
    for each in other_processes.tree(pid):
        try:
            descriptor = os.pidfd_open(each)
        except ProcessLookupError:  # it has ended
            continue
        except OSError as error:
            failed("a program whose agent has exceeded its budget is not ended", error)
            continue
        if other_processes.parent_of(each) in below:
            below.add(each)
            yield descriptor
        else:
            os.close(descriptor)


def _send(child: Child, number: signal.Signals) -> None:
    for descriptor in _asked[child][1]:
        try:
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:  # it has ended
            continue
        except OSError as error:
            failed("a program whose agent has exceeded its budget is not ended", error)


def _let_go(child: Child) -> None:
    for descriptor in _asked.pop(child)[1]:
        os.close(descriptor)


@_forks.in_child
def _forked() -> None:
    for child in list(_asked):
        _let_go(child)
