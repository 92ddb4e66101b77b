"""The decorators that each promise is tried with: one of each kind."""

from __future__ import annotations

import pytest

import codoperf_otel as co

MONITORING = {
    "monitor_performance": co.monitor_performance,
    "agent": co.agent,
    "tool(name)": co.tool("named"),
    "performance_context(name)": co.performance_context("named"),
}
monitoring = pytest.mark.parametrize("decorator", MONITORING.values(), ids=MONITORING)
