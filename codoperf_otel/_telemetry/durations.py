"""Durations that are kept here, rather than in an SDK's histogram, until an exporter asks for them.

So is what the runs of agents have counted.

Each exporter has a `Position`. It stands for what was recorded since the exporter was made or, where that
exports deltas, since it last asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from codoperf_otel import _forks
from codoperf_otel._telemetry import names
from codoperf_otel._telemetry.instruments import INSTRUMENTS

if TYPE_CHECKING:
    from codoperf_otel._telemetry.distributions import Distribution, Series

HISTOGRAMS = frozenset(
    (
        names.FUNCTION_DURATION,
        names.OPERATION_DURATION,
        names.INVOKE_AGENT_DURATION,
        names.INVOKE_AGENT_TOOL_CALLS,
        names.INVOKE_AGENT_INFERENCE_CALLS,
        names.EXECUTE_TOOL_DURATION,
        names.WORKFLOW_DURATION,
    )
)
"""Whose durations, or counts, may be kept here."""


def bounds_of(histogram: str) -> tuple[float, ...]:
    """The upper bounds of a histogram's buckets, but for the last, which has none."""
    return INSTRUMENTS[histogram].bounds or ()


class Position:
    """What one exporter has had of the durations. `takes` is True where it exports deltas."""

    __slots__ = ("takes",)

    def __init__(self, *, takes: bool) -> None:
        self.takes = takes

    def rest(self, had: Distribution) -> Distribution | None:
        """What is left for this position of what was collected for it."""
        return None if self.takes else had.without_exemplars()


Source = Callable[[Position], "Iterable[Series]"]
"""Returns what a position has. What is left afterwards is for the position to say."""

positions: tuple[Position, ...] = ()
"""Who asks for durations. Without anybody, none are kept. Read it as an attribute of this module."""

_sources: list[Source] = []


def keep_for(position: Position) -> None:
    """Keep durations for an exporter from now on; those that wait to be folded are not among them."""
    global positions
    collect(position)
    positions = (*positions, position)


def forget(position: Position) -> None:
    """Keep no more durations for an exporter, and let go of those that were kept."""
    global positions
    positions = tuple(other for other in positions if other is not position)
    position.takes = True
    collect(position)


def add_source(source: Source) -> Source:
    """Ask `source` too when an exporter asks for durations."""
    _sources.append(source)
    return source


def collect(position: Position) -> list[Series]:
    """What a position has, each histogram and attribute set once."""
    found: dict[Any, Series] = {}
    for source in _sources:
        for series in source(position):
            known = found.get(series.key)
            if known is not None:
                series = series._replace(distribution=known.distribution.merged(series.distribution))
            found[series.key] = series
    return list(found.values())


@_forks.in_child
def _forked() -> None:
    """The exporters are the parent's; a child registers its own."""
    global positions
    positions = ()
