"""Budgets of agents: what one run may use, and what is done where it uses more."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from functools import partial
from time import perf_counter_ns, thread_time_ns
from typing import TYPE_CHECKING, Any, Literal, Protocol

from codoperf_otel import _forks, _telemetry
from codoperf_otel._calls import invocations, late_events
from codoperf_otel._calls.budget_exceeded import BudgetExceeded
from codoperf_otel._calls.foreign_code import failed
from codoperf_otel._calls.lineages import CHILD_PROCESS_NS, CPU_NS, TOKENS, TOOL_CALLS
from codoperf_otel._calls.meters import opened_peak
from codoperf_otel._calls.thread_clock import thread
from codoperf_otel._calls.totals import PEAK, Totals
from codoperf_otel._environment_variables import setting_error
from codoperf_otel._once import Once
from codoperf_otel._readings import other_processes
from codoperf_otel._telemetry import names

if TYPE_CHECKING:
    from codoperf_otel._calls.call import Call
    from codoperf_otel._calls.sites import Site
    from codoperf_otel._readings.peak import Window

log = logging.getLogger("codoperf_otel.agents")

_MIB = 1 << 20
_is_first_unseen = Once()


class Budget:
    """What one run of an agent may use, with all that runs inside it, agents and programs too.

    It is looked at before each call inside the agent, and when the agent ends. Where more was used,
    `BudgetExceeded` is raised there, in the thread of that call; with ``action="record"`` it is not raised.
    Either way it is an event of the agent's span and a log record, and so is a warning before.

    >>> from codoperf_otel import agent, tool
    >>> with agent("reviewer", budget=Budget(tool_calls=1)):
    ...     for _ in range(2):
    ...         with tool("read"):
    ...             pass
    Traceback (most recent call last):
    codoperf_otel.budgets.BudgetExceeded: agent reviewer has used 2 of tool_calls=1

    Args:
        cpu_s: CPU time in seconds, with that of the programs it started.
        wall_s: seconds since it began.
        memory_mb: the highest memory of the process while it runs, or of a program it started, in MiB.
        tool_calls: tools that it begins to execute.
        tokens: of the model calls that are seen, input and output together.
        action: ``"raise"`` or ``"record"``.
        warn_at: the share of a limit from which on there is a warning; 1 for none.
        kill_children: end the programs it started where more was used, also while the agent waits for them:
            SIGTERM, and SIGKILL two seconds later. Only on Linux, where `os.pidfd_open` works: a pid may be
            another process's by then.

    Raises:
        ValueError: no limit is given, or a value is none of those allowed.
    """

    __slots__ = ("action", "kill_children", "limits", "warn_at")

    def __init__(
        self,
        *,
        cpu_s: float | None = None,
        wall_s: float | None = None,
        memory_mb: float | None = None,
        tool_calls: int | None = None,
        tokens: int | None = None,
        action: Literal["raise", "record"] = "raise",
        warn_at: float = 0.8,
        kill_children: bool = False,
    ) -> None:
        amounts = {"cpu_s": cpu_s, "wall_s": wall_s, "memory_mb": memory_mb}
        numbers = {"tool_calls": tool_calls, TOKENS: tokens}
        self.limits = {
            **{name: _amount(name, value) for name, value in amounts.items() if value is not None},
            **{name: _number(name, value) for name, value in numbers.items() if value is not None},
        }
        if not self.limits:
            raise ValueError(f"a budget must have a limit: one of {', '.join((*amounts, *numbers))}")
        if action not in ("raise", "record"):
            raise setting_error("action", action, "'raise' or 'record'")
        if not isinstance(kill_children, bool):
            raise setting_error("kill_children", kill_children, "True or False")
        if kill_children and not other_processes.can_be_held():
            raise setting_error("kill_children", kill_children, "False where pidfd_open does not work")
        self.action = action
        self.warn_at = _share("warn_at", warn_at)
        self.kill_children = kill_children

    def __repr__(self) -> str:
        limits = ", ".join(f"{name}={limit:g}" for name, limit in self.limits.items())
        return f"Budget({limits}, action={self.action!r})"

    def open(self, call: Call) -> RunBudget:
        """Begin to count what a run uses."""
        return RunBudget(self, call)


def _is_number(value: Any) -> bool:
    is_real = isinstance(value, int | float) and not isinstance(value, bool)
    return is_real and abs(value) <= sys.float_info.max


def _amount(name: str, value: Any) -> float:
    if not _is_number(value) or value <= 0:
        raise setting_error(name, value, "a number above 0")
    return float(value)


def _number(name: str, value: Any) -> int:
    if not isinstance(value, int) or not _is_number(value) or value < 0:
        raise setting_error(name, value, "a whole number from 0 up")
    return value


def _share(name: str, value: Any) -> float:
    if not _is_number(value) or not 0 < value <= 1:
        raise setting_error(name, value, "a number above 0, and 1 at most")
    return float(value)


class Program(Protocol):
    """A program that runs."""

    def cpu_ns(self) -> int:
        """The CPU time that it has used so far."""
        ...

    def memory(self) -> int:
        """Its highest memory that was seen, in bytes."""
        ...


class RunBudget(Totals):
    """What one run has used of its budget so far, and the calls and programs in it that still run."""

    __slots__ = ("_call", "_generation", "_reported", "_window", "agent", "budget", "programs", "running")

    def __init__(self, budget: Budget, call: Call) -> None:
        super().__init__()
        self.budget = budget
        self.agent = "" if call.lineage is None else call.lineage.name
        self.running: set[Call] = set()
        self.programs: set[Program] = set()
        self._call: Call | None = call
        self._generation = _forks.generation
        self._reported: dict[tuple[str, str], float] = {}
        self._window: Window | None = opened_peak() if "memory_mb" in budget.limits else None
        if budget.kill_children and not invocations.programs_are_seen and _is_first_unseen():
            _warn(_UNSEEN, self.agent, fields={"agent": self.agent})

    @property
    def is_open(self) -> bool:
        """Whether the run has not ended, and is one of this process."""
        return self._call is not None and self._generation == _forks.generation

    @property
    def ends_programs(self) -> bool:
        """Whether its programs are to be ended where it is exceeded."""
        return self.budget.kill_children

    def is_exceeded(self) -> bool:
        """Look at it without raising; once the run has ended, whether it was."""
        if self.is_open:
            self.look()
        return any(event == names.BUDGET_EXCEEDED_EVENT for event, _ in list(self._reported))

    def before(self, site: Site) -> None:
        """Look at it before a call inside.

        Raises:
            BudgetExceeded: it is to be raised, and more was used.
        """
        if not self.is_open:
            return
        if site.histogram == names.EXECUTE_TOOL_DURATION:
            self.add(TOOL_CALLS, 1)
        self.check()

    def check(self) -> None:
        """Look at it where a call begins or ends.

        Raises:
            BudgetExceeded: it is to be raised, and more was used.
        """
        exceeded = self.look()
        try:
            if exceeded is not None and self.budget.action == "raise":
                raise exceeded
        finally:
            del exceeded  # else this frame and the exception would keep each other

    def ended(self, call: Call) -> None:
        """Take in what a call has used that has ended."""
        if call is self._call:
            self._call = self._window = None
            self.running.clear()
        elif call in self.running:
            self.running.discard(call)
            self.add(CPU_NS, call.self_ns)

    def look(self) -> BudgetExceeded | None:
        """Report what is used up, or nearly so, each once; returns the first that is used up.

        What was once used up stays so: where programs have ended for it, nobody waits for those below them.
        """
        found = None
        for resource, limit in self.budget.limits.items():
            used = max(self._used(resource), self._reported.get((names.BUDGET_EXCEEDED_EVENT, resource), 0))
            if used > limit:
                self._report(names.BUDGET_EXCEEDED_EVENT, resource, limit, used)
                found = found or BudgetExceeded(self.agent, resource, limit, used)
            elif used and used >= self.budget.warn_at * limit and self.budget.warn_at < 1:
                self._report(names.BUDGET_WARNING_EVENT, resource, limit, used)
        return found

    def _used(self, resource: str) -> float:
        if resource == "wall_s":
            call = self._call
            return 0 if call is None else (perf_counter_ns() - call.started_ns) / 1e9
        values = self.values()
        if resource == "cpu_s":
            return (values.get(CPU_NS, 0) + values.get(CHILD_PROCESS_NS, 0) + sum(self._running_ns())) / 1e9
        if resource == "memory_mb":
            return max(values.get(PEAK, 0), *self._memory()) / _MIB
        return values.get(resource, 0)

    def _running_ns(self) -> Iterator[int]:
        clock = thread.clock
        for call in list(self.running):
            yield call.self_ns if call.shares is None else call.self_ns + call.shares.self_ns()
            if call is clock.current:
                yield thread_time_ns() - clock.since_ns
        for program in list(self.programs):
            yield program.cpu_ns()

    def _memory(self) -> Iterator[int]:
        window = self._window
        yield 0 if window is None else window.current() or 0
        for program in list(self.programs):
            yield program.memory()

    def _report(self, event: str, resource: str, limit: float, used: float) -> None:
        call = self._call
        if (event, resource) in self._reported or call is None:
            return
        self._reported[event, resource] = used
        attributes = {
            names.BUDGET_RESOURCE: resource,
            names.BUDGET_LIMIT: limit,
            names.BUDGET_USED: used,
        }
        at_ns = call.epoch_ns + perf_counter_ns()
        late_events.add(call, partial(_put_on, event, attributes, at_ns))
        _log(event, self.agent, resource, limit, used)


def _put_on(event: str, attributes: dict[str, Any], at_ns: int, call: Call) -> None:
    _telemetry.add_event(call.span, event, attributes, at_ns)


def _log(event: str, agent: str, resource: str, limit: float, used: float) -> None:
    fields = {"agent": agent, "resource": resource, "limit": limit, "used": used}
    said = "has exceeded" if event == names.BUDGET_EXCEEDED_EVENT else "comes near"
    _warn("agent %s %s its budget: %.6g of %s=%g", agent, said, used, resource, limit, fields=fields)


_UNSEEN = (
    "the budget of agent %s has kill_children=True, but it sees no programs: call configure(), "
    "or instrument(subprocess=True), without turning child processes off (said once)"
)


def _warn(message: str, *args: object, fields: dict[str, Any]) -> None:
    clock = thread.clock
    before, clock.busy = clock.busy, 1  # a log handler may call monitored functions
    try:
        log.warning(message, *args, extra=fields)
    except Exception as error:
        failed("a budget is not logged: a log handler failed", error)
    finally:
        clock.busy = before
