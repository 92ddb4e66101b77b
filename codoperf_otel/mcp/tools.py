"""What the server's tools answer. Their signatures and docstrings are what a client is told of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from codoperf_otel._report.agents import Agent, agents
from codoperf_otel._report.caches import Cache, caches
from codoperf_otel._report.operations import Operation, operations
from codoperf_otel._report.regressions import Comparison, comparisons
from codoperf_otel._report.sums import highest, total
from codoperf_otel.mcp.recording import Recording

Limit = Annotated[int, Field(ge=1, le=1000, description="at most so many rows")]
OperationName = Annotated[str, Field(description="the name of an operation, as performance_stats has it")]
Share = Annotated[float, Field(ge=0, description="0.2 is 20 % longer than before")]
By = Literal["cpu", "wall", "memory"]

_BY: dict[By, Callable[[Operation], float | None]] = {
    "cpu": lambda operation: operation.total_cpu_seconds,
    "wall": lambda operation: operation.average_wall_seconds,
    "memory": lambda operation: operation.memory_growth_bytes,
}


@dataclass
class Resources:
    """What the recorded programs used. Times are in seconds; what was not measured is null."""

    spans: int
    errors: int
    processes: int
    self_cpu_seconds: float | None
    child_process_cpu_seconds: float | None
    memory_peak_bytes: float | None
    skipped_lines: int


class Tools:
    """The questions that can be asked of a recording, and of one from before."""

    def __init__(self, now: Recording, before: Recording | None) -> None:
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
        found = operations(self._now.telemetry().spans)
        return [one for one in found if operation in (None, one.name)][:limit]

    def slowest_operations(self, by: By = "cpu", limit: Limit = 10) -> list[Operation]:
        """The most expensive operations.

        By CPU time in all, by wall time of a call on average, or by how far memory grew.
        """
        figure = _BY[by]
        measured = [one for one in operations(self._now.telemetry().spans) if figure(one) is not None]
        return sorted(measured, key=lambda one: -(figure(one) or 0.0))[:limit]

    def agent_report(self) -> list[Agent]:
        """What each agent used.

        Runs, wall time, own CPU time and that of the programs it started, waiting, memory, tool calls, cache
        hits and the seconds that they saved, errors.
        """
        telemetry = self._now.telemetry()
        return agents(telemetry.spans, telemetry.points)

    def cache_stats(self) -> list[Cache]:
        """Look-ups, hits by tier, misses and the seconds saved, of each cache."""
        return caches(self._now.telemetry().points)

    def resource_report(self) -> Resources:
        """What the recorded programs used in all."""
        telemetry = self._now.telemetry()
        spans = telemetry.spans
        return Resources(
            spans=len(spans),
            errors=sum(span.failed for span in spans),
            processes=len({span.process for span in spans}),
            self_cpu_seconds=total(span.self_cpu for span in spans),
            child_process_cpu_seconds=total(span.child_process_cpu for span in spans),
            memory_peak_bytes=highest(span.memory_peak for span in spans),
            skipped_lines=len(telemetry.problems),
        )

    def compare_benchmarks(self, operation: OperationName) -> Comparison:
        """Whether an operation became faster or slower than in the recording from before, by a rank test."""
        for comparison in self._comparisons():
            if comparison.operation == operation:
                return comparison
        raise ToolError(f"{operation!r} is not in both recordings: performance_stats names those of this one")

    def check_regression(self, max_slowdown: Share = 0.2) -> list[Comparison]:
        """The operations that became significantly slower than before, by more than `max_slowdown`."""
        return [
            comparison
            for comparison in self._comparisons()
            if comparison.verdict == "slower" and (comparison.change or 0.0) > max_slowdown
        ]

    def _comparisons(self) -> list[Comparison]:
        before = self._before
        return [] if before is None else comparisons(before.telemetry().spans, self._now.telemetry().spans)
