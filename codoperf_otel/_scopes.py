"""A block of code recorded as one call, and the clock that tells its CPU time.

A block is not driven: nobody is told when a task suspends in it. Its clock is that of the driven call
around it, which is.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self, cast

from opentelemetry.context import attach, get_current

from codoperf_otel._context import Loan, Record, record_in, running_task, slot, switch
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


def _clock(driver: Record | Loan) -> int:
    """The CPU time of a driven call up to the last switch."""
    return cast("int", driver.cpu_ns) + slot.since - driver.entered


def _open_clock(record: Record) -> None:
    """Let the block's CPU time be that of the driven call around it, else of the thread.

    In a task that no driven call encloses the thread also runs others: there is no figure then.
    """
    around = slot.record
    if around is None:
        known = record.task is None
    else:
        known = around.task is record.task
        record.driver = around if around.scope is None else around.driver
    if not known:
        record.cpu_ns = record.driver = None
        return
    record.outer = switch(record)
    record.entered = _clock(record.driver) if record.driver is not None else slot.since


def _close_clock(record: Record) -> None:
    if record.cpu_ns is None:
        return
    if slot.record is not record or record.task is not running_task():
        record.cpu_ns = None  # left elsewhere than it was entered
        return
    switch(record.outer)
    now = _clock(record.driver) if record.driver is not None else slot.since
    record.cpu_ns = now - record.entered
    record.outer = record.driver = None
