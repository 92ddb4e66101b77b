"""A call while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span

from codoperf_otel._calls.charged import Account, Charged
from codoperf_otel._calls.foreign_spans import ForeignSpan
from codoperf_otel._calls.lineages import CPU_NS, Lineage
from codoperf_otel._calls.shares import Lender, NoShares
from codoperf_otel._calls.wall_clock import wall_clock

if TYPE_CHECKING:
    from codoperf_otel._calls.invocations import Invocation
    from codoperf_otel._calls.meters import OpenMeter
    from codoperf_otel._calls.sites import Site, SiteForAgent


class Call(Lender):
    """One running call, and what remains of it in the Context when it has ended: its agent and its span.

    `lineage` is the agent in force, and `invocation` the innermost one of ours around it.
    """

    __slots__ = (
        "around",
        "context",
        "epoch_ns",
        "inner",
        "invocation",
        "lineage",
        "open_meters",
        "paused_ns",
        "shared_ns",
        "site",
        "site_for_agent",
        "span",
        "suspended_ns",
        "within",
        "yielded",
    )

    inner: Charged | None
    invocation: Invocation | None
    open_meters: list[OpenMeter] | None
    parent: Call | None = None
    within: ForeignSpan | None
    """The span of another library that may name its agent, or one around that."""
    shared_ns: int | None
    """The self CPU time of the call that shares its span, and is counted in its place; None without one."""

    def fill(
        self,
        site: Site,
        site_for_agent: SiteForAgent,
        lineage: Lineage | None,
        within: ForeignSpan | None,
        invocation: Invocation | None,
        around: Context,
        started_ns: int,
        epoch_ns: int,
        task: object,
        /,
    ) -> None:
        """Begin. A constructor takes half as long again."""
        self.site = site
        self.site_for_agent = site_for_agent
        self.lineage = lineage
        self.within = within
        self.invocation = invocation
        self.around: Context | None = around
        self.started_ns = started_ns
        self.epoch_ns = epoch_ns
        self.task = task
        self.span: Span = INVALID_SPAN
        self.context: Context | None = None
        self.outer = self.inner = self.shares = self.open_meters = self.shared_ns = None
        self.cpu_ns = 0
        self.self_ns = self.entered_ns = self.paused_ns = self.suspended_ns = self.yielded = 0

    @property
    def account(self) -> Account:  # type: ignore[override]
        """Where it is counted."""
        return self.site_for_agent

    @property
    def is_running(self) -> bool:
        """False when it has ended, and in a forked child for a call of the parent."""
        return self in self.site_for_agent.cell.active

    def add_late(self, self_ns: int, cpu_ns: int) -> None:
        """Add what was run for it and comes after its end: to its account, and to the budgets around it."""
        super().add_late(self_ns, cpu_ns)
        if self.invocation is not None:
            self.invocation.use(CPU_NS, self_ns)

    def let_go(self) -> None:
        """Keep nothing but what the Context of others may still be asked for."""
        if self.within is not None:
            self.lineage = self.within.lineage()
        self.around = self.context = self.outer = self.inner = self.task = self.open_meters = self.within = (
            None
        )


class BlockCall(Call):
    """The call of a block of code; `parent` is the call around it.

    `counted_ns` is set where it ends in another thread than it began in: its self CPU time then. Its own
    thread may go on to charge it.
    """

    __slots__ = ("counted_ns", "driver", "parent")

    is_block = True
    counted_ns: int | None
    driver: Charged | None
    parent: Call | None

    def fill(self, *arguments: Any) -> None:
        """Begin."""
        super().fill(*arguments)
        self.counted_ns = self.driver = self.parent = None

    @property
    def has_left(self) -> bool:  # type: ignore[override]
        """Whether it has ended in another thread."""
        return self.counted_ns is not None

    def leave(self) -> None:
        """Let who was charged before have what was charged to it since its end, in its own thread."""
        if self.counted_ns is not None and self.outer is not None:
            self.outer.self_ns += self.self_ns - self.counted_ns
            self.counted_ns = self.self_ns

    def let_go(self) -> None:
        """Keep nothing but what the Context of others may still be asked for."""
        outer = self.outer if self.has_left else None
        super().let_go()
        self.driver = self.parent = None
        self.outer = outer


class RemoteCall(Call):
    """A call of another process, for which something runs in this one: only its agent is known."""

    __slots__ = ()

    account = None  # type: ignore[assignment]

    def __init__(self, lineage: Lineage) -> None:
        self.lineage: Lineage = lineage
        self.epoch_ns = wall_clock.epoch_ns
        self.span = INVALID_SPAN
        self.around = self.context = self.within = self.invocation = None
        self.shared_ns = 0  # there is no span to share
        self.shares = NoShares()

    @property
    def is_running(self) -> bool:
        """It is not running here."""
        return False
