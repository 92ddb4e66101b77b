"""One look-up of a cached function: found, computed here, or waited for while another caller computes it."""

from __future__ import annotations

import logging
from collections.abc import Hashable
from threading import get_ident
from time import perf_counter_ns, sleep
from typing import Any, Protocol

from opentelemetry.context import Context

from codoperf_otel import _telemetry
from codoperf_otel._cache import once_only
from codoperf_otel._cache.claims import Claim, Claims
from codoperf_otel._cache.flights import Flight, concerns_all
from codoperf_otel._cache.marks import Marks
from codoperf_otel._cache.moments import WHATEVER, Moments
from codoperf_otel._cache.namespace import Location, Namespace
from codoperf_otel._cache.tiers import Item
from codoperf_otel._calls.context import agent_in_force
from codoperf_otel._calls.recorder import shared
from codoperf_otel._calls.runtime_context import runtime
from codoperf_otel._calls.thread_clock import thread
from codoperf_otel._telemetry import names
from codoperf_otel._telemetry.attribute_sets import Attributes
from codoperf_otel._telemetry.interrupts import raise_interrupt

log = logging.getLogger("codoperf_otel.cache")


class Cache(Protocol):
    """What a look-up takes from the function's cache."""

    name: str
    namespace: Namespace
    marks: Marks | None

    @property
    def is_outside(self) -> bool: ...
    def claims(self, location: Location) -> Claims | None: ...
    def look(self, location: Location) -> Item | None: ...
    def moments(self, location: Location) -> Moments: ...
    def keep(self, location: Location, item: Item, flight: Flight, since: Moments) -> None: ...


class Load:
    """A `with` block for one look-up. Where the value `is_missing` it is computed inside, and then kept.

    Only the first of several callers computes. The others wait for it, and its outcome is theirs.
    """

    __slots__ = (
        "_agent", "_around", "_cache", "_claim", "_flight", "_found", "_has_landed", "_location", "_origin",
        "_since", "_stands_in", "_started_ns", "is_missing", "value",
    )  # fmt: skip

    value: Any

    def __init__(self, cache: Cache, key: Hashable) -> None:
        self._flight: Flight | None = Flight()
        self._cache = cache
        self._location = cache.namespace.location(key)
        self._agent = agent_in_force()
        self._around: Context | None = None
        self._claim: Claim | None = None
        self._found: Item | None = None
        self.is_missing = self._stands_in = self._has_landed = False

    def __enter__(self) -> Load:
        try:
            other = self._wait()
            if other is not None:
                self._take(other)
            else:
                self._find()
                self._begin()
            return self
        except BaseException:
            self.land()
            raise
        finally:
            other = None  # which an error would hold in a circle

    def _wait(self) -> Flight | None:
        """The computation of another caller that had an outcome, once it has ended."""
        while other := self._other():
            if not other.wait():
                self._take_over(other)
            elif other.is_settled:
                return other
        return None

    def _find(self) -> None:
        while not self._look():
            sleep(self._claimed.pause())

    def _other(self) -> Flight | None:
        """The computation to wait for. None: this caller computes, unshared where it is part of one."""
        own = self._landing
        flight = self._cache.namespace.flights.join(self._location.key, own)
        return None if flight is own or self._is_part_of(flight) else flight

    def _is_part_of(self, flight: Flight) -> bool:
        return flight.thread == get_ident() or flight.is_around

    def _take(self, flight: Flight) -> None:
        self._cache.namespace.count_coalesced(self._agent)
        try:
            self.value = flight.outcome()
        finally:
            del flight

    def _take_over(self, flight: Flight) -> None:
        self._cache.namespace.flights.replace(self._location.key, self._landing, flight)

    def _look(self) -> bool:
        """Look the value up; if it is to be computed, note what is kept. False: another process computes."""
        is_done = self._ask()
        if is_done and not self._has_found():
            self._note()
        return is_done

    def _note(self) -> None:
        self._since = self._cache.moments(self._location)

    def _ask(self) -> bool:
        if self._claim is None:
            self._found = self._cache.look(self._location)
            claims = None if self._has_found() else self._claims()
            if claims is None:
                return True
            self._claim = Claim(claims, self._location)
            if self._has_landed:  # the caller was cancelled while this thread looked
                self._give_back()
        if not self._claim.take():
            return False
        self._found = self._cache.look(self._location)
        if self._claim.has_waited:  # in vain or not: nobody else is to wait for this
            self._claim.give_back()
        return True

    def _has_found(self) -> bool:
        return self._found is not None and self._found.is_fresh

    def _claims(self) -> Claims | None:
        """Where to claim the computation; nowhere, if it is part of the one that has the claim."""
        is_first = self._cache.namespace.flights.has(self._location.key, self._landing)
        return self._cache.claims(self._location) if is_first else None

    @property
    def _claimed(self) -> Claim:
        claim: Any = self._claim
        return claim  # type: ignore[no-any-return]

    def _begin(self) -> None:
        """Take what was found, else begin to compute."""
        if self._found is not None and self._found.is_fresh:
            self._count_found(self._found)
            self.value = self._found.value
            self._landing.settle(self.value)
            self.land()
            return
        if self._found is None:
            self._cache.namespace.count_miss(self._agent)
        if self._cache.marks is not None:
            self._cache.marks.miss()
        self._compute()

    def _count_found(self, found: Item) -> None:
        namespace = self._cache.namespace
        if self._claim is not None and self._claim.has_waited:
            namespace.count_coalesced(self._agent)
        else:
            namespace.count_hits(self._agent, found.tier, 1, found.load)
            if self._cache.marks is not None:
                self._cache.marks.hit(found.tier, found.origin)

    def _compute(self) -> None:
        self.is_missing = True
        self._origin = b"" if self._cache.marks is None else self._cache.marks.origin()
        around = self._around = runtime.get_current()
        runtime.attach(self._landing.context(around))
        self._started_ns = perf_counter_ns()

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> bool:
        if self.is_missing:
            try:
                seconds = self._end(error)
                if error is None:
                    self._keep(seconds)
            finally:
                self.land()
        return self._stands_in

    def _keep(self, seconds: float) -> None:
        try:
            item = Item(self.value, 0, seconds, self._origin)
            self._cache.keep(self._location, item, self._landing, self._since)
        finally:
            self._give_back()

    def _give_back(self) -> None:
        if self._claim is not None:
            self._claim.give_back()

    def _leave(self, flight: Flight) -> None:
        """Put the Context back; not where a coroutine is closed from elsewhere."""
        if self._around is not None:
            if flight.is_around:
                runtime.attach(self._around)
            self._around = None

    @property
    def _landing(self) -> Flight:
        flight: Any = self._flight
        return flight  # type: ignore[no-any-return]

    def _end(self, error: BaseException | None) -> float:
        """Measure the computation and note its outcome."""
        seconds = (perf_counter_ns() - self._started_ns) / 1e9
        self._leave(self._landing)
        tally = self._location.namespace.tally(self._agent)
        of = tally.load if error is None else tally.failed_load(_telemetry.error_type(error))
        _record(seconds, of)
        if self._found is not None:
            self._stands_in = self._may_stand_in(self._found, error, seconds)
            self._cache.namespace.count_miss(self._agent, stale=self._stands_in)
            if self._stands_in:
                self._take_expired(self._found, error)
                return seconds
        try:
            if error is None:
                once_only.refuse(f"the result of {self._cache.name}()", self.value)
            self._landing.settle(getattr(self, "value", None), error)
        except TypeError as refused:
            self._landing.settle(None, refused)
            raise
        return seconds

    def _may_stand_in(self, found: Item, error: BaseException | None, seconds: float) -> bool:
        """Whether an expired value may still be returned in place of an error: it was not cleared since."""
        return (
            concerns_all(error)
            and found.ttl - seconds > -self._cache.namespace.grace
            and self._cache.namespace.flights.has(self._location.key, self._landing)
        )

    def _take_expired(self, found: Item, error: BaseException | None) -> None:
        log.debug("cache %s: an expired value stands in for %s", self._cache.name, type(error).__qualname__)
        self.value = found.value
        self._landing.settle(self.value)

    def land(self) -> None:
        """Let nobody wait for this any longer. Once more, where an interrupt kept it from its end."""
        flight = self._flight
        if flight is not None:
            self._leave(flight)
            self._has_landed = True
            try:
                self._give_back()
            finally:
                self._cache.namespace.flights.land(self._location.key, flight)
            self._flight = None


class Refresh(Load):
    """A load that computes, whatever is kept."""

    __slots__ = ()

    def __enter__(self) -> Refresh:
        self._replace()
        self._compute()
        return self

    def _replace(self) -> None:
        """Take the place of computations under way, and of whatever is kept."""
        self._cache.namespace.flights.replace(self._location.key, self._landing)
        found = self._cache.moments(self._location)
        self._since = {tier: moment._replace(kept=WHATEVER) for tier, moment in found.items()}


def _record(seconds: float, of: Attributes) -> None:
    try:
        histogram = _telemetry.active().instruments.histograms[names.CACHE_LOAD_DURATION]
        shared.record(thread.clock, histogram, seconds, of)
    except Exception as error:
        raise_interrupt(error)
        log.debug("a load's duration is not recorded", exc_info=True)
