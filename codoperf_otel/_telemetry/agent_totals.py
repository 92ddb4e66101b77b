"""What each agent has of a figure, agents inside it left out: the sum over what ran with it in force."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from opentelemetry.metrics import Observation

from codoperf_otel._telemetry import names
from codoperf_otel._telemetry.attribute_sets import AttributeSets

_sets = AttributeSets()


def by_agent(source: Callable[[], Iterable[Observation]]) -> Callable[[], Iterator[Observation]]:
    """The sums of a source's observations by agent; what ran outside any is left out."""

    def observations() -> Iterator[Observation]:
        sums: dict[str, float] = {}
        for observation in source():
            agent = (observation.attributes or {}).get(names.GEN_AI_AGENT_NAME)
            if isinstance(agent, str):
                sums[agent] = sums.get(agent, 0) + observation.value
        for agent, total in sums.items():
            yield Observation(total, _sets.get(agent, {names.GEN_AI_AGENT_NAME: agent}))

    return observations
