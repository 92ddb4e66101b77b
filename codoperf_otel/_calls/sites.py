"""Sites: what is the same for every call of one function or operation, made once, at decoration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from weakref import ref

from opentelemetry.context import Context

from codoperf_otel import _forks, _telemetry
from codoperf_otel._calls.cells import Cell, Family, cell
from codoperf_otel._calls.lineages import CPU_NS, Lineage
from codoperf_otel._calls.meters import Meter
from codoperf_otel._statistics.monitor import PerformanceMonitor
from codoperf_otel._telemetry.attribute_sets import Attributes, with_agent

if TYPE_CHECKING:
    from codoperf_otel._calls.call_ledgers import CallLedger
    from codoperf_otel._calls.capture import Capture
    from codoperf_otel._calls.invocations import Budget

MAX_AGENTS = 1000
FIRST = 1
"""Spans per second that a function may have whatever others have."""

SECOND_NS = 1_000_000_000


class SiteForAgent:
    """A site under one agent: where its calls are counted, and the attributes its spans start with.

    Those of its durations are None where a framework has a histogram of the same name.
    """

    __slots__ = ("_elsewhere", "attributes", "cell", "duration_attributes", "ledger", "lineage")

    def __init__(
        self, lineage: Lineage | None, cell: Cell, ledger: CallLedger, attributes: Attributes
    ) -> None:
        self.lineage = lineage
        self.cell = cell
        self.ledger = ledger
        self.attributes = attributes
        self.duration_attributes: Attributes | None = cell.duration_attributes
        self._elsewhere: SiteForAgent | None = None

    def timed_elsewhere(self) -> SiteForAgent:
        """The same, for calls whose durations a framework records itself."""
        if self.duration_attributes is None:
            return self
        if self._elsewhere is None:
            self._elsewhere = SiteForAgent(self.lineage, self.cell, self.ledger, self.attributes)
            self._elsewhere.duration_attributes = None
        return self._elsewhere

    def count_failure(self, failure: BaseException) -> Attributes | None:
        """Count a failed call; returns the attributes of its duration."""
        found = self.cell.count_failure(failure)
        return None if self.duration_attributes is None else found

    def add_late(self, self_ns: int) -> None:
        """Add CPU time that is known only after the call."""
        self.cell.add_late(self_ns)
        if self.lineage is not None:
            self.lineage.add(CPU_NS, self_ns)

    def add_foreign(self, self_ns: int) -> None:
        """Add CPU time of another library's span, which is in its own agent's figures already."""
        self.cell.add_late(self_ns)

    def add_child_process(self, cpu_ns: int) -> None:
        """Add what a child process took that a call has started."""
        self.cell.add_child_process(cpu_ns)
        if self.lineage is not None:
            self.lineage.add_child_process(cpu_ns)


class SpanRate:
    """At most so many spans per second; metrics and statistics count every call all the same.

    Below one per second it is one span per so many seconds. A rate that several functions have `together`
    leaves the first span to each of them, so that what is called seldom is seen.
    """

    __slots__ = ("_left", "_limit", "_per_second", "_since", "_together", "_window_ns", "refused")

    def __init__(self, per_second: float, together: SpanRate | None = None) -> None:
        self._per_second = per_second
        self._together = together
        self._limit = max(per_second, 1.0)
        self._window_ns = SECOND_NS * self._limit / per_second
        self._left = self._limit
        self._since = -self._window_ns
        self.refused = 0

    def __reduce__(self) -> tuple[type[SpanRate], tuple[float]]:
        """Another machine has another clock, and spends its own."""
        return SpanRate, (self._per_second,)

    def allows(self, now_ns: int) -> bool:
        """Whether the call that begins now has a span."""
        if now_ns - self._since >= self._window_ns:
            self._since = now_ns
            self._left = self._limit
        if self._left < 1 or not self._has_share(now_ns):
            self.refused += 1
            return False
        self._left -= 1
        return True

    def _has_share(self, now_ns: int) -> bool:
        together, is_of_the_first = self._together, self._limit - self._left < FIRST
        return together is None or is_of_the_first or together.allows(now_ns)


Report = Callable[["Site", Context | None, float, Mapping[str, Any], BaseException | None], None]
"""Called for each call that has ended: its site, Context, seconds, what meters measured, how it failed."""


AtEnd = Callable[[Any, int, int | None, Mapping[str, Any]], None]
"""Called for each call that has ended in an agent, as soon as it is counted: the call, its duration and the
CPU time of its own thread in ns, and what meters measured."""

Execution = tuple[tuple[str, str], ...]

_DERIVED = {"__weakref__", "by_agent", "is_timed_elsewhere", "origin"}


class Site:
    """What a function, an operation, an agent or a tool is called and where its calls are counted.

    `execution` belongs to agents and tools: the attributes by which another span stands for the same one.
    `origin` is the framework whose adapter records it; None of what a program decorates. `is_timed_elsewhere`
    is True where that framework has a histogram of its durations.
    """

    __slots__ = (
        "__weakref__",
        "agent",
        "at_end",
        "attributes",
        "budget",
        "by_agent",
        "capture",
        "cell_name",
        "duration_attributes",
        "execution",
        "family",
        "histogram",
        "is_timed_elsewhere",
        "meters",
        "min_span_ns",
        "monitor",
        "name",
        "origin",
        "report",
        "span_name",
        "span_rate",
    )

    def __init__(
        self,
        name: str,
        span_name: str,
        *,
        family: Family,
        cell_name: str,
        histogram: str,
        monitor: PerformanceMonitor,
        attributes: Attributes,
        duration_attributes: Attributes | None = None,
        agent: str | None = None,
        meters: tuple[Meter, ...] = (),
        capture: Capture | None = None,
        span_rate: SpanRate | None = None,
        min_span_ns: int = 0,
        report: Report | None = None,
        at_end: AtEnd | None = None,
        budget: Budget | None = None,
        execution: Execution | None = None,
    ) -> None:
        self.name = name
        self.span_name = span_name
        self.family = family
        self.cell_name = cell_name
        self.histogram = histogram
        self.monitor = monitor
        self.attributes = attributes
        self.duration_attributes = duration_attributes
        self.agent = agent
        self.meters = meters
        self.capture = capture
        self.span_rate = span_rate
        self.min_span_ns = min_span_ns
        self.report = report
        self.at_end = at_end
        self.budget = budget
        self.execution = execution
        self.origin: str | None = None
        self.is_timed_elsewhere = False
        self.by_agent: dict[Lineage | None, SiteForAgent] = {}
        _sites.add(ref(self, _sites.discard))
        for meter in meters:
            meter.prepare()

    def __reduce__(self) -> tuple[Callable[[Attributes], Site], tuple[Attributes]]:
        """A decorated function goes to another process without what was counted in this one."""
        return _remake, ({name: getattr(self, name) for name in self.__slots__ if name not in _DERIVED},)

    def for_agent(self, lineage: Lineage | None) -> SiteForAgent:
        """The site under an agent, made at its first call there."""
        agent = None if lineage is None else lineage.name
        measured = self.duration_attributes
        if measured is not None:
            measured = with_agent(measured, agent)
        attributes = _telemetry.cleaned(with_agent(self.attributes, agent))
        counted = cell(self.family, self.cell_name, agent, measured)
        ledger = counted.ledger(self.name, self.monitor.statistics, self.histogram, self.span_name)
        made = SiteForAgent(lineage, counted, ledger, attributes)
        if self.is_timed_elsewhere:
            made = made.timed_elsewhere()
        if len(self.by_agent) < MAX_AGENTS:
            self.by_agent[lineage] = made
        return made


def _remake(values: Attributes) -> Site:
    return Site(**values)


_sites: set[ref[Site]] = set()
"""All sites. `set.discard` is not Python code, in which the exception of a signal handler would be lost."""


def living_sites() -> Iterator[Site]:
    """The sites of what is decorated and still there."""
    for known in list(_sites):
        if (site := known()) is not None:
            yield site


def calls_over_rate() -> int:
    """How many calls had no span since their function had too many in that second."""
    return sum(site.span_rate.refused for site in living_sites() if site.span_rate is not None)


@_forks.in_child
def _forked() -> None:
    for site in living_sites():
        site.by_agent.clear()
        if site.span_rate is not None:
            site.span_rate.refused = 0
