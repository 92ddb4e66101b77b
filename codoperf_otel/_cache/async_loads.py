"""Look-ups of cached coroutine functions. Nothing here makes an event loop wait."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, TypeVar

from codoperf_otel._cache.claims import Claims
from codoperf_otel._cache.flights import PATIENCE, Flight
from codoperf_otel._cache.loads import Load, Refresh
from codoperf_otel._telemetry.interrupts import raise_interrupt

R = TypeVar("R")


class AsyncLoad(Load):
    """A `Load` of a coroutine function."""

    __slots__ = ("_is_on_loop",)

    async def __aenter__(self) -> AsyncLoad:
        self._is_on_loop = _running_loop() is not None
        try:
            other = await self._wait_off_loop()
            if other is not None:
                self._take(other)
            else:
                await self._find_off_loop()
                self._begin()
            return self
        except BaseException:
            self.land()
            raise
        finally:
            other = None

    async def _wait_off_loop(self) -> Flight | None:
        while other := self._other():
            if not await _over(other):
                self._take_over(other)
            elif other.is_settled:
                return other
        return None

    async def _find_off_loop(self) -> None:
        while not await self._off_loop(self._look):
            await sys.modules["asyncio"].sleep(self._claimed.pause())

    def _is_part_of(self, flight: Flight) -> bool:
        return flight.is_around or _running_loop() is None

    async def __aexit__(self, kind: object, error: BaseException | None, _: object) -> bool:
        if self.is_missing:
            try:
                seconds = self._end(error)
                if error is None:
                    await self._off_loop(self._keep, seconds)
                elif self._claim is not None and not isinstance(error, GeneratorExit):
                    await self._off_loop(self._give_back)
            finally:
                self.land()
        return self._stands_in

    def _claims(self) -> Claims | None:
        return super()._claims() if self._is_on_loop else None

    async def _off_loop(self, work: Callable[..., R], *args: Any) -> R:
        """What `work` returns, from a thread where it may wait for a disk or a server."""
        loop = _running_loop()
        if loop is None or not self._cache.is_outside:
            return work(*args)
        try:
            working = loop.run_in_executor(None, copy_context().run, work, *args)
        except RuntimeError as error:  # the loop's threads have ended
            raise_interrupt(error)
            return work(*args)
        found: R = await working
        return found


class AsyncRefresh(AsyncLoad, Refresh):
    """A load that computes, whatever is kept."""

    __slots__ = ()

    async def __aenter__(self) -> AsyncRefresh:
        await self._off_loop(self._replace)
        self._compute()
        return self


def _running_loop() -> Any:
    """The event loop of asyncio that runs on this thread, or None."""
    asyncio = sys.modules.get("asyncio")
    return None if asyncio is None else asyncio._get_running_loop()


async def _over(flight: Flight) -> bool:
    """Let this task wait for the end of a flight, for a limited time. Whether it has ended."""
    with flight.waited_for() as may_wait:
        return may_wait and await _ended(flight)


async def _ended(flight: Flight) -> bool:
    loop = _running_loop()
    future = loop.create_future()
    flight.when_over(lambda: _wake(loop, future))
    limit = loop.call_later(PATIENCE, _wake, loop, future)
    try:
        await future
    finally:
        limit.cancel()
    return flight.is_over


def _wake(loop: Any, future: Any) -> None:
    try:
        loop.call_soon_threadsafe(lambda: future.done() or future.set_result(None))
    except RuntimeError as error:  # the loop is closed: nobody waits any more
        raise_interrupt(error)
