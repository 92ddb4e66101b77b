"""A block of code recorded as one call, and the clock that tells its CPU time.

A block is not driven: nobody is told when a task suspends in it. Its clock is that of the driven call
around it, which is.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter_ns
from types import TracebackType
from typing import Any, Self, cast

from opentelemetry.context import attach, get_current

from codoperf_otel._context import Loan, Record, Slot, record_in, running_task, thread
from codoperf_otel._recording import begin, finish
from codoperf_otel._sites import Site


class Scope:
    """A block of code recorded as one call: ``with`` and ``async with`` alike."""

    def __init__(self, site: Site, attributes: Mapping[str, Any] | None = None) -> None:
        self._site = site
        self._attributes = attributes
        self._open: list[Record] = []

    def __enter__(self) -> Self:
        record = begin(self._site, self._attributes)
        record.scope = self
        self._open.append(record)
        if record.context is not None:
            attach(record.context)
        _open_clock(record)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        record = self._leave()
        _close_clock(record)
        record.left = perf_counter_ns()
        finish(self._site, record, error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def _leave(self) -> Record:
        """Take the record of this block off the Context, where it still is on it."""
        record = record_in(get_current())
        while record is not None and record not in self._open:
            record = record.parent
        if record is None:
            return self._open.pop()
        self._open.remove(record)
        attach(record.outer_context)
        return record


def _clock(slot: Slot, driver: Record | Loan | None) -> int:
    """The CPU time of a driven call up to the last switch; without one, the thread's."""
    return slot.since if driver is None else cast("int", driver.cpu_ns) + slot.since - driver.entered


def _open_clock(record: Record) -> None:
    """Let the block's CPU time be that of the driven call around it, else of the thread.

    In a task that no driven call encloses the thread also runs others: there is no figure then.
    """
    slot = thread.slot
    around = slot.record
    if around is None:
        known = record.task is None
    else:
        known = around.task is record.task
        record.driver = around if around.scope is None else around.driver
    if not known:
        record.cpu_ns = record.driver = None
        return
    record.outer = slot.switch(record)
    record.entered = _clock(slot, record.driver)


def _close_clock(record: Record) -> None:
    if record.cpu_ns is None:
        return
    slot = thread.slot
    if slot.record is not record or record.task is not running_task():
        record.cpu_ns = None  # left elsewhere than it was entered
        return
    slot.switch(record.outer)
    record.cpu_ns = _clock(slot, record.driver) - record.entered
    record.outer = record.driver = None
