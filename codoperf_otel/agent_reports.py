"""What each agent used, read in the process."""

from __future__ import annotations

from codoperf_otel._calls.agent_figures import AgentFigures, AgentUsage, agent_usages
from codoperf_otel._calls.agent_report import AgentReport

__all__ = ["AgentFigures", "AgentReport", "AgentUsage", "agent_report"]


def agent_report() -> AgentReport:
    """What each agent used since the process began. It needs no exporter.

    Its figures are those of the metrics ``codoperf.agent.*``, and with them the totals that include the
    agents inside. Calls and programs that still run are not in it yet.

    >>> from codoperf_otel import agent, tool
    >>> with agent("librarian"), tool("search"):
    ...     pass
    >>> agent_report().to_dict()["librarian"]["self"]["tool_calls"]
    1
    """
    return AgentReport(agent_usages())
