"""What a test of a framework observes: spans, counts, CPU time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import codoperf_otel as co
from codoperf_otel._report.files import read
from codoperf_otel._report.trees import traces

AGENT, TOOL, OPERATION = "gen_ai.agent.name", "gen_ai.tool.name", "gen_ai.operation.name"
CPU = "codoperf.cpu.time"
BURNT = 0.2

exporter = InMemorySpanExporter()
reader = InMemoryMetricReader()


class Recorded:
    """What one test has recorded."""

    def __init__(self, leave_out: str | None = None) -> None:
        self._leave_out = leave_out

    def without(self, tool: str) -> Recorded:
        """What is recorded, without the executions of a tool."""
        return Recorded(tool)

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans that have ended."""
        ended = exporter.get_finished_spans()
        return [span for span in ended if span.attributes.get(TOOL, "") != self._leave_out]

    def of(self, operation: str) -> list[ReadableSpan]:
        """The spans of agents (``invoke_agent``), or those of tools (``execute_tool``)."""
        return [span for span in self.spans if span.attributes.get(OPERATION) == operation]

    def tools(self) -> list[tuple[str, str | None]]:
        """Each execution of a tool: its name, and the agent that its span names."""
        return sorted((span.attributes[TOOL], span.attributes.get(AGENT)) for span in self.of("execute_tool"))

    def agents(self) -> list[str]:
        """Each invocation of an agent."""
        return sorted(span.attributes[AGENT] for span in self.of("invoke_agent"))

    def burnt(self, tool: str) -> list[float]:
        """The CPU seconds of each execution of a tool."""
        return [span.attributes[CPU] for span in self.of("execute_tool") if span.attributes[TOOL] == tool]

    def around(self, tool: str) -> str | None:
        """The agent whose span is the nearest one around that of a tool."""
        known = {span.context.span_id: span for span in self.spans}
        (span,) = (span for span in self.of("execute_tool") if span.attributes[TOOL] == tool)
        while span is not None and span.attributes.get(OPERATION) != "invoke_agent":
            span = known.get(span.parent.span_id) if span.parent else None
        return None if span is None else span.attributes[AGENT]


def counted(tool: str, scope: str = "codoperf_otel") -> int:
    """How many executions of a tool the metrics of a scope have, since the process began."""
    data = reader.get_metrics_data()
    return sum(
        point.count
        for resource in (data.resource_metrics if data else ())
        for found in resource.scope_metrics
        if found.scope.name == scope
        for metric in found.metrics
        if metric.name == "gen_ai.execute_tool.duration"
        for point in metric.data.data_points
        if point.attributes[TOOL] == tool
    )


def runs_of(agent: str) -> int:
    """How many runs of an agent the report has."""
    found = co.agent_report().to_dict().get(agent)
    return found["invocations"] if found else 0


def cpu_of(agent: str) -> float:
    """The CPU seconds of an agent that the report has."""
    found = co.agent_report().to_dict().get(agent)
    return (found["self"]["cpu_seconds"] or 0.0) if found else 0.0


def errors_of(agent: str) -> int:
    """How many errors of an agent the report has."""
    found = co.agent_report().to_dict().get(agent)
    return found["self"]["errors"] if found else 0


def burn(seconds: float = 0.01) -> str:
    """Use CPU time on this thread, and tell the agent in force."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
    return str(co.current_agent())


def is_burnt(*found: float, expected: float = BURNT) -> bool:
    """Whether figures are within 3 % of what was burnt."""
    return all(abs(seconds - expected) <= 0.03 * expected for seconds in found)


@contextmanager
def failing(recorded: Recorded, tool: str, agent: str, error: str) -> Iterator[None]:
    """A tool fails once: its span says so, with this error type, and it is one error of its agent."""
    before = errors_of(agent)
    yield
    found = [span for span in recorded.of("execute_tool") if not span.status.is_ok]
    told = [tuple(map(span.attributes.get, (TOOL, AGENT, "error.type"))) for span in found]
    assert told == [(tool, agent, error)]
    assert errors_of(agent) - before == 1


def tree_of(folder: Path) -> str:
    """The spans of a folder of telemetry as lines of text, in the order of their starts, as trees."""
    found = sorted(traces(read(folder).spans), key=lambda trace: trace.start)
    nodes = [node for trace in found for node in trace.walk()]
    return "".join(f"{'  ' * node.depth}{node.span.name}\n" for node in nodes)


def check_tools(recorded: Recorded, tools: list[tuple[str, str | None]], *burning: str) -> None:
    """Each tool has one span that names its agent, is inside that agent's, and has its CPU time."""
    assert recorded.tools() == sorted(tools)
    for tool, agent in tools:
        assert recorded.around(tool) == agent
    for tool in burning:
        assert is_burnt(*recorded.burnt(tool)), (tool, recorded.burnt(tool))
