"""Starting child processes: what stands around the functions that do it learns pid and call."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from codoperf_otel._calls.call import Call, RemoteCall
from codoperf_otel._calls.charged import below_spans
from codoperf_otel._calls.context import call_in, current_call
from codoperf_otel._calls.foreign_code import failed
from codoperf_otel._calls.thread_clock import thread
from codoperf_otel._children import enforcing, sampling, table
from codoperf_otel._children.meter import meter_of
from codoperf_otel._children.pools import owner, queue_of
from codoperf_otel._children.table import Child
from codoperf_otel._patching.replacing import unbound
from codoperf_otel._readings.memory import own_mark
from codoperf_otel._workers.wrappers import Switch

PidOf = Callable[[Any], int | None]

_METHODS = {"fork", "spawn"}
"""How `multiprocessing` starts children of this process; those of its fork server are that one's children."""


def reporting(original: Callable[..., Any], pid_of: PidOf, switch: Switch) -> Callable[..., Any]:
    """What stands in the place of a method that starts a child process."""
    method = unbound(original)

    @wraps(original)
    def start(self: Any, *args: Any, **kwargs: Any) -> Any:
        call = owner(queue_of(self), call_in_force()) if switch.is_on else None
        if call is None:
            return method(self, *args, **kwargs)
        beginning = object()
        mark = own_mark()
        try:
            table.starting.add(beginning)
            result = method(self, *args, **kwargs)
            _note(pid_of(self), call, mark)
        finally:
            table.end_start(beginning)
        return result

    return start


def _note(pid: int | None, call: Call, mark: int | None) -> None:
    try:
        _started(pid, call, mark)
    except Exception as error:
        failed("a child process is not measured", error)


def _started(pid: int | None, call: Call, mark: int | None) -> None:
    if pid is not None:
        if mark is not None:  # the kernel counts our own memory, up to the `exec`, as the child's
            mark = max(mark, own_mark() or 0)
        meter = meter_of(call) if call.is_running else None
        budgets = () if call.invocation is None else call.invocation.budgets
        site = call.lineage if isinstance(call, RemoteCall) else call.site_for_agent
        table.add(pid, Child(site, meter, mark, pid, budgets))
        if any(budget.ends_programs for budget in budgets):
            enforcing.begin()
        if mark is not None:
            sampling.begin()


def call_in_force() -> Call | None:
    """The innermost call here: one without a span is not in the Context, but the thread charges it."""
    found = current_call()
    charged = below_spans(thread.clock.current)
    if isinstance(charged, Call) and charged.context is None and charged.around is not None:
        return charged if call_in(charged.around) is found else found
    return found


def of_popen(popen: Any) -> int | None:
    """The pid of what a `subprocess.Popen` has started."""
    return getattr(popen, "pid", None)


def of_process(process: Any) -> int | None:
    """The pid of what a process of `multiprocessing` has started, where it is our child."""
    popen = getattr(process, "_popen", None)
    return getattr(popen, "pid", None) if getattr(popen, "method", None) in _METHODS else None
