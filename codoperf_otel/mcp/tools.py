"""What the server's tools answer. Their signatures and docstrings are what a client is told of them."""

from __future__ import annotations

from collections.abc import Callable
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

_BY: dict[By, Callable[[Operation], float | None]] = {
    "cpu": lambda operation: operation.total_cpu_seconds,
    "wall": lambda operation: operation.average_wall_seconds,
    "memory": lambda operation: operation.memory_growth_bytes,
}


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
        found = self._now.operations()
        return [one for one in found if operation in (None, one.name)][:limit]

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
        for comparison in self._comparisons():
            if comparison.operation == operation:
                return comparison
        raise ToolError(
            f"{operation!r} was not called both before and now: performance_stats names what was now"
        )

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
