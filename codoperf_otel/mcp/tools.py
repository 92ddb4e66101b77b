"""What the server's tools answer. Their signatures and docstrings are what a client is told of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from codoperf_otel._report.agents import Agent
from codoperf_otel._report.caches import Cache
from codoperf_otel._report.operations import Operation
from codoperf_otel._report.regressions import Comparison, comparisons
from codoperf_otel._report.resources import Resources
from codoperf_otel.mcp.sources import Source

Limit = Annotated[int, Field(ge=1, le=1000, description="at most so many rows")]
OperationName = Annotated[str, Field(description="the name of an operation, as performance_stats has it")]
Share = Annotated[float, Field(ge=0, description="0.2 is 20 % longer than before")]
By = Literal["cpu", "wall", "memory"]

LONGEST_NAME = 100
FEW = 3
MOST_COMPARED = 1000

_BY: dict[By, Callable[[Operation], float | None]] = {
    "cpu": lambda operation: operation.total_cpu_seconds,
    "wall": lambda operation: operation.average_wall_seconds,
    "memory": lambda operation: operation.memory_growth_bytes,
}


def _unknown(asked: str, why: str, known: Sequence[str]) -> ToolError:
    """An error that names those which come nearest, else the first ones."""
    names = list(dict.fromkeys(known))[:MOST_COMPARED]
    near = get_close_matches(asked[:LONGEST_NAME], names, FEW) or names[:FEW]
    hint = f"there is {', '.join(map(_short, near))}" if near else "there is none"
    return ToolError(f"{_short(asked)} {why}: {hint}")


def _short(name: str) -> str:
    return repr(name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…")


class Tools:
    """The questions that can be asked, some of them only where there is a recording from before."""

    def __init__(self, now: Source, before: Source | None) -> None:
        self._now = now
        self._before = before

    def all(self) -> list[Callable[..., Any]]:
        """Every tool that there is something to answer from."""
        tools: list[Callable[..., Any]] = [
            self.performance_stats,
            self.slowest_operations,
            self.agent_report,
            self.cache_stats,
            self.resource_report,
        ]
        return tools if self._before is None else [*tools, self.compare_benchmarks, self.check_regression]

    def performance_stats(self, operation: OperationName | None = None, limit: Limit = 50) -> list[Operation]:
        """Calls, errors, wall time, CPU time and memory of each operation, by agent.

        The one with the most CPU time comes first, child processes included. Times are in seconds; what was
        not measured is null.
        """
        known = self._now.operations()
        found = [one for one in known if operation in (None, one.name)]
        if operation is not None and not found:
            raise _unknown(operation, "was not called", [one.name for one in known])
        return found[:limit]

    def slowest_operations(self, by: By = "cpu", limit: Limit = 10) -> list[Operation]:
        """The most expensive operations.

        By CPU time in all, by wall time of a call on average, or by how far memory grew.
        """
        figure = _BY[by]
        measured = [one for one in self._now.operations() if figure(one) is not None]
        return sorted(measured, key=lambda one: -(figure(one) or 0.0))[:limit]

    def agent_report(self) -> list[Agent]:
        """What each agent used.

        Runs, wall time, own CPU time and that of the programs it started, waiting, memory, tool calls, cache
        hits and the seconds that they saved, errors.
        """
        return self._now.agents()

    def cache_stats(self) -> list[Cache]:
        """Look-ups, hits by tier, misses and the seconds saved, of each cache."""
        return self._now.caches()

    def resource_report(self) -> Resources:
        """What the programs used in all: their operations, and the processes as a whole."""
        return self._now.resources()

    def compare_benchmarks(self, operation: OperationName) -> Comparison:
        """Whether an operation became faster or slower than in the recording from before, by a rank test."""
        known = {comparison.operation: comparison for comparison in self._comparisons()}
        if operation not in known:
            raise _unknown(operation, "was not called both before and now", list(known))
        return known[operation]

    def check_regression(self, max_slowdown: Share = 0.2) -> list[Comparison]:
        """The operations that became significantly slower than before, by more than `max_slowdown`."""
        return [
            comparison
            for comparison in self._comparisons()
            if comparison.verdict == "slower" and (comparison.change or 0.0) > max_slowdown
        ]

    def _comparisons(self) -> list[Comparison]:
        before = self._before
        return [] if before is None else comparisons(before.durations(), self._now.durations())
