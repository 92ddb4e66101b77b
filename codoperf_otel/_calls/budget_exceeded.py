"""The exception of a budget. Caches know it: it is nobody's but the agent's whose budget it is."""

from __future__ import annotations


class BudgetExceeded(RuntimeError):  # noqa: N818  # as the limit of a server's
    """A run of an agent used more than its `Budget` allows.

    ``agent`` is its name, ``resource`` the budget's argument that was exceeded, ``limit`` its value, and
    ``used`` what was used when this was seen.

    >>> print(BudgetExceeded("reviewer", "tool_calls", 10, 11))
    agent reviewer has used 11 of tool_calls=10
    """

    __module__ = "codoperf_otel.budgets"

    def __init__(self, agent: str, resource: str, limit: float, used: float) -> None:
        super().__init__(agent, resource, limit, used)
        self.agent = agent
        self.resource = resource
        self.limit = limit
        self.used = used

    def __str__(self) -> str:
        return f"agent {self.agent} has used {self.used:.6g} of {self.resource}={self.limit:g}"
