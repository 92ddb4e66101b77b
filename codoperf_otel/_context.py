"""The one record that travels in the OpenTelemetry Context, and the thread's slot that says whose CPU runs.

Parent and agent of a call are read from the Context. Whose CPU time runs is another question, and the
thread answers it: its slot holds the record whose code runs now and the clock since it does. `switch`
closes the slice of the one and begins the slice of the other, so that every slice is charged once.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
import threading
from collections.abc import Callable
from time import thread_time_ns
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from opentelemetry import trace
from opentelemetry.context import Context, attach, create_key, detach, get_current
from opentelemetry.trace import INVALID_SPAN, Span

if TYPE_CHECKING:
    from codoperf_otel._statistics import Cell

P = ParamSpec("P")
R = TypeVar("R")

RECORD_KEY = create_key("codoperf-record")
_SPAN_KEY = next(iter(trace.set_span_in_context(trace.INVALID_SPAN, Context())))

generation = 0
"""How many forks lie between the first process and this one: a call belongs to the one it began in."""


class Record:
    """What one running call knows of itself: its place in the tree, its span and its CPU slices."""

    __slots__ = (
        "agent",
        "cell",
        "context",
        "cpu_ns",
        "driver",
        "ended",
        "entered",
        "generation",
        "inner",
        "left",
        "lends",
        "lent_cpu_ns",
        "lent_self_ns",
        "outer",
        "outer_context",
        "parent",
        "process_ns",
        "scope",
        "self_ns",
        "span",
        "started",
        "started_at",
        "suspended_ns",
        "task",
        "window",
        "yielded",
    )

    started: int
    entered: int
    outer: Record | Loan | None

    def __init__(
        self, cell: Cell, parent: Record | None, agent: str | None, around: Context, started_at: int
    ) -> None:
        self.cell = cell
        self.parent = parent
        self.agent = agent
        self.outer_context = around
        self.started_at = started_at
        self.generation = generation
        self.span: Span = INVALID_SPAN
        self.task: object = running_task()
        self.scope: object = None
        self.window: Any = None
        self.process_ns: int | None = None
        self.context: Context | None = None
        self.driver: Record | Loan | None = None
        self.inner: Record | Loan | None = None
        self.cpu_ns: int | None = 0
        self.ended = self.lends = False
        self.self_ns = self.left = 0
        self.suspended_ns = self.yielded = self.lent_self_ns = self.lent_cpu_ns = 0

    def take(self, loan: Loan, cpu_ns: int) -> None:
        """Add what another thread ran for this record, or for its cell where the call has ended."""
        with self.cell.lock:
            if not self.ended:
                self.lent_self_ns += loan.self_ns
                self.lent_cpu_ns += cpu_ns
                return
        self.cell.add_cpu(loan.self_ns)


class Loan:
    """What another thread runs for a record: its slices, and the clock that `with` scopes in it read."""

    __slots__ = ("cpu_ns", "driver", "entered", "scope", "self_ns", "task")

    def __init__(self) -> None:
        self.self_ns = 0
        self.cpu_ns = 0
        self.entered = 0
        self.driver = None
        self.scope = None
        self.task = running_task()


class Slot:
    """Whose code runs on a thread, and the thread's CPU clock since it does."""

    __slots__ = ("record", "since")

    def __init__(self) -> None:
        self.record: Record | Loan | None = None
        self.since = 0

    def switch(self, to: Record | Loan | None) -> Record | Loan | None:
        """Charge the CPU time up to now to the record that is here, and put `to` here.

        Gives the record that was here before. `since` is then the clock at the switch.
        """
        now = thread_time_ns()
        before = self.record
        if before is not None:
            before.self_ns += now - self.since
        self.record = to
        self.since = now
        return before


class _Thread(threading.local):
    def __init__(self) -> None:
        self.slot = Slot()

    def __reduce__(self) -> str:
        """A decorated function goes to another process, where this is what the thread there has."""
        return "thread"


thread = _Thread()
"""What this thread has: its slot."""


def with_record(parent: Context, span: Span, record: Record) -> Context:
    """A new Context: the parent's values, with this span and this record as the current ones."""
    return Context({**parent, _SPAN_KEY: span, RECORD_KEY: record})


def record_in(context: Context) -> Record | None:
    """The record that a Context carries."""
    return context.get(RECORD_KEY)  # type: ignore[return-value]


def current_record() -> Record | None:
    """The record of the innermost call in force here."""
    return record_in(get_current())


def current_agent() -> str | None:
    """The name of the agent in force here."""
    record = current_record()
    return record.agent if record is not None else None


def running_task() -> object:
    """The asyncio task that runs on this thread, or None."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return None
    try:
        loop = asyncio._get_running_loop()
        return None if loop is None else asyncio.current_task(loop)
    except AttributeError:  # asyncio is being imported just now
        return None


def propagate_context(func: Callable[P, R]) -> Callable[P, R]:
    """Let `func`, run by another thread, belong to the operation and the agent that are in force here.

    Hand the result to an executor or a thread. Its CPU time is charged to the operation it was made in.

    >>> from concurrent.futures import ThreadPoolExecutor
    >>> with ThreadPoolExecutor() as pool:
    ...     pool.submit(propagate_context(sum), [1, 2]).result()
    3

    Raises:
        TypeError: `func` is a coroutine function; tasks take their context along by themselves.
    """
    if inspect.iscoroutinefunction(func):
        raise TypeError(f"propagate_context takes a plain function, not the coroutine function {func!r}")
    context = get_current()
    record = record_in(context)
    if record is not None:
        record.lends = True

    @functools.wraps(func)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        token = attach(context)
        try:
            return func(*args, **kwargs) if record is None else _lend(record, func, *args, **kwargs)
        finally:
            detach(token)

    return run


def _lend(record: Record, func: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    slot = thread.slot
    if slot.record is record:
        return func(*args, **kwargs)
    loan = Loan()
    outer = slot.switch(loan)
    loan.entered = slot.since
    try:
        return func(*args, **kwargs)
    finally:
        slot.switch(outer)
        record.take(loan, slot.since - loan.entered)


def _forked() -> None:
    global generation
    generation += 1
    thread.slot.record = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
