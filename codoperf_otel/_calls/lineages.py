"""The agent in force and the agents around it, and what each combination of them used.

What is used is added to one lineage. An agent's own figures are the sums of the lineages that end with it,
its totals those of all lineages that it is in. So an agent inside rolls up into those around it at once, also
where it outlives them, and no run of an agent has to know another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from opentelemetry.metrics import Observation

from codoperf_otel import _forks, _telemetry
from codoperf_otel._calls.totals import Totals
from codoperf_otel._telemetry import names
from codoperf_otel._telemetry.attribute_sets import OVERFLOW, Attributes, AttributeSets, with_agent

MAX_LINEAGES = 1000

INVOCATIONS = "invocations"
WALL_NS = "wall_ns"
WAITING_NS = "waiting_ns"
CPU_NS = "cpu_ns"
CHILD_PROCESS_NS = "child_process_ns"
TOOL_CALLS = "tool_calls"
INFERENCE_CALLS = "inference_calls"
INPUT_TOKENS = "input_tokens"
OUTPUT_TOKENS = "output_tokens"
TOKENS = "tokens"
ERRORS = "errors"
SAVED_NS = "cache_saved_ns"
LAZY_LOAD_NS = "lazy_load_ns"
LOOKUPS = {result: f"cache_{result}" for result in (names.HIT, names.MISS, names.STALE, names.COALESCED)}

OTHER = "(other)"
"""What further ones are counted under."""


class Lineage(Totals):
    """An agent in force, and `names`, which has those around it too. There is one of each combination."""

    __slots__ = ("_inside", "name", "names")

    def __init__(self, name: str, names: frozenset[str]) -> None:
        super().__init__()
        self.name = name
        self.names = names
        self._inside: dict[str, Lineage] = {}

    def inside(self, name: str) -> Lineage:
        """That of an agent inside."""
        return self._inside.get(name) or _known_by(name, self.names | {name}, self._inside)

    def add_child_process(self, cpu_ns: int) -> None:
        """Add what a child process took that was started with the agent in force."""
        self.add(CHILD_PROCESS_NS, cpu_ns)


class _Further(Lineage):
    """One for which there is no place: it is counted with the others of its kind."""

    __slots__ = ()

    def add(self, name: str, value: int) -> None:
        """Add it to those of the others."""
        _other.add(name, value)

    def add_all(self, values: Iterable[tuple[str, int]]) -> None:
        """Add them to those of the others."""
        _other.add_all(values)


_known: dict[tuple[str, frozenset[str]], Lineage] = {}
_outermost: dict[str, Lineage] = {}
_other = Lineage(OTHER, frozenset({OTHER}))
_befores: list[Callable[[], object]] = []


def inside(around: Lineage | None, name: str) -> Lineage:
    """The lineage of an agent that is invoked inside another, or inside none."""
    if around is not None:
        return around.inside(name)
    return _outermost.get(name) or _known_by(name, frozenset({name}), _outermost)


def lineage_of(path: Iterable[str]) -> Lineage | None:
    """The lineage of these agents, the outermost first."""
    found: Lineage | None = None
    for name in path:
        found = inside(found, name)
    return found


def _known_by(name: str, names: frozenset[str], kept: dict[str, Lineage]) -> Lineage:
    found = _known.get((name, names))
    if found is None and len(_known) >= MAX_LINEAGES:
        return _Further(name, names)
    _observe()
    return kept.setdefault(name, found or _known.setdefault((name, names), Lineage(name, names)))


def before_reading(bring_up_to_date: Callable[[], None]) -> Callable[[], None]:
    """Have that called before lineages are read: it adds what waits elsewhere."""
    _befores.append(bring_up_to_date)
    return bring_up_to_date


def lineages() -> list[Lineage]:
    """All lineages, up to date."""
    for bring_up_to_date in _befores:
        bring_up_to_date()
    return [*_known.values(), _other]


_sets = AttributeSets()


def _observe() -> None:
    for metric, (divisor, parts) in _METRICS.items():
        _telemetry.observe(metric, partial(_observations, divisor, parts))


def _observations(divisor: float, parts: Mapping[str, Attributes]) -> Iterable[Observation]:
    """What each agent has of a figure, agents inside it left out."""
    sums: dict[int, tuple[Attributes, int]] = {}
    for lineage in lineages():
        values = lineage.values()
        for figure in parts.keys() & values.keys():
            of = _attributes(lineage, figure, parts[figure])
            _, before = sums.get(id(of), (of, 0))
            sums[id(of)] = of, before + values[figure]
    return [Observation(total / divisor if divisor > 1 else total, of) for of, total in sums.values()]


def _attributes(lineage: Lineage, figure: str, further: Attributes) -> Attributes:
    if lineage is _other:
        return OVERFLOW
    return _sets.get((lineage.name, figure if further else None), with_agent(further, lineage.name))


_ALL: Attributes = {}
_METRICS: dict[str, tuple[float, dict[str, Attributes]]] = {
    names.AGENT_WALL_TIME: (1e9, {WALL_NS: _ALL}),
    names.AGENT_CPU_TIME: (1e9, {CPU_NS: _ALL}),
    names.AGENT_CHILD_PROCESS_CPU_TIME: (1e9, {CHILD_PROCESS_NS: _ALL}),
    names.AGENT_SUSPENDED_TIME: (1e9, {WAITING_NS: _ALL}),
    names.AGENT_TOOL_CALLS: (1, {TOOL_CALLS: _ALL}),
    names.AGENT_INFERENCE_CALLS: (1, {INFERENCE_CALLS: _ALL}),
    names.AGENT_ERRORS: (1, {ERRORS: _ALL}),
    names.AGENT_CACHE_LOOKUPS: (1, {each: {names.CACHE_RESULT: result} for result, each in LOOKUPS.items()}),
    names.AGENT_CACHE_SAVED_TIME: (1e9, {SAVED_NS: _ALL}),
    names.AGENT_LAZY_LOAD_TIME: (1e9, {LAZY_LOAD_NS: _ALL}),
    names.AGENT_TOKEN_USAGE: (
        1,
        {
            INPUT_TOKENS: {names.GEN_AI_TOKEN_TYPE: names.INPUT},
            OUTPUT_TOKENS: {names.GEN_AI_TOKEN_TYPE: names.OUTPUT},
        },
    ),
}


@_forks.in_child
def _forked() -> None:
    for lineage in (*_known.values(), _other):
        lineage.begin_anew()
