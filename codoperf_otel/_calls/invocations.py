"""Runs of agents."""

from __future__ import annotations

from typing import Any, Protocol

from codoperf_otel._calls.totals import Totals

programs_are_seen = False
"""Whether it is known which programs a run starts."""


class OpenBudget(Protocol):
    """What one run has used of its budget so far, and the calls and programs in it that still run."""

    running: set[Any]
    programs: set[Any]

    @property
    def is_open(self) -> bool:
        """Whether the run has not ended, and is one of this process."""
        ...

    @property
    def ends_programs(self) -> bool:
        """Whether its programs are to be ended where it is exceeded."""
        ...

    def before(self, site: Any) -> None:
        """Look at it before a call inside; may raise."""

    def check(self) -> None:
        """Look at it where the run ends; may raise."""

    def is_exceeded(self) -> bool:
        """Look at it without raising; once the run has ended, whether it was."""
        ...

    def add(self, name: str, value: int) -> None:
        """Charge it with something."""

    def ended(self, call: Any) -> None:
        """Charge it with a call that has ended."""


class Budget(Protocol):
    """What each run of an agent may use."""

    def open(self, call: Any) -> OpenBudget:
        """Begin to count what a run uses."""
        ...


class Invocation(Totals):
    """The tools and the model calls of one run, without those of the agents inside it.

    `budgets` are those that the run has to keep to, its `own` and those of the runs around it.
    """

    __slots__ = ("budgets", "own")

    def __init__(self, around: Invocation | None, own: OpenBudget | None) -> None:
        super().__init__()
        self.own = own
        self.budgets: tuple[OpenBudget, ...] = () if own is None else (own,)
        if around is not None and around.budgets:
            self.budgets += tuple(budget for budget in around.budgets if budget.is_open)

    def before(self, site: Any) -> None:
        """Look at the budgets before a call inside.

        Raises:
            BudgetExceeded: one is to be raised.
        """
        for budget in self.budgets:
            budget.before(site)

    def look(self, *, raises: bool) -> None:
        """Look at its own budget where it ends.

        Raises:
            BudgetExceeded: it is to be raised, and `raises`.
        """
        if self.own is None:
            return
        if raises:
            self.own.check()
        else:
            self.own.is_exceeded()

    def use(self, what: str, amount: int) -> None:
        """Charge the budgets with something."""
        for budget in self.budgets:
            budget.add(what, amount)

    def ended(self, call: Any) -> None:
        """Charge the budgets with a call that has ended."""
        for budget in self.budgets:
            budget.ended(call)


def joined(around: Invocation | None, call: Any) -> Invocation | None:
    """The run that a call belongs to: that around it, or the one that it is."""
    site, found = call.site, around
    if site.agent is not None:
        found = Invocation(around, None if site.budget is None else site.budget.open(call))
    for budget in () if found is None else found.budgets:
        budget.running.add(call)
    return found
