"""What a run of an agent may use."""

from __future__ import annotations

from codoperf_otel._calls.budget_exceeded import BudgetExceeded
from codoperf_otel._calls.budgets import Budget

__all__ = ["Budget", "BudgetExceeded"]
