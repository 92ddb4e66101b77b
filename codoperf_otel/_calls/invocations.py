"""Runs of agents."""

from __future__ import annotations

from codoperf_otel._calls.totals import Totals


class Invocation(Totals):
    """The tools and the model calls of one run, without those of the agents inside it."""

    __slots__ = ()
