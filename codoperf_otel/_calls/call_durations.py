"""The durations that a ledger keeps for exporters. Loaded only where there are such exporters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from codoperf_otel._statistics.ledgers import Entry
from codoperf_otel._telemetry import durations
from codoperf_otel._telemetry.attribute_sets import Attributes
from codoperf_otel._telemetry.distributions import Distribution, Exemplar, Series, distribution
from codoperf_otel._telemetry.durations import Position

Durations = dict[int, tuple[Attributes, tuple[tuple[Position, Distribution], ...]]]
"""By the identity of the attributes, what each position has of them. It is never changed."""


def with_calls(
    before: Durations, batch: list[Entry], attributes: Sequence[Attributes | None], bounds: Sequence[float]
) -> Durations:
    """The durations that have seen these calls too; `attributes` are the calls' own, in their order."""
    positions = durations.positions
    kept = dict(before)
    for each, members in _by_attributes(batch, attributes):
        times = [entry[1] / 1e9 for entry in members]
        more = distribution(times, bounds, _exemplars(members), members[0][0])
        known = dict(kept[id(each)][1]) if id(each) in kept else {}
        merged = ((at, known[at].merged(more) if at in known else more) for at in positions)
        kept[id(each)] = each, tuple(merged)
    return kept


def _by_attributes(
    batch: list[Entry], attributes: Sequence[Attributes | None]
) -> Iterator[tuple[Attributes, list[Entry]]]:
    """The calls whose durations are kept, by the identity of their attributes."""
    first = attributes[0]
    if first is not None and attributes.count(first) == len(attributes):
        yield first, batch
        return
    groups: dict[int, tuple[Attributes, list[Entry]]] = {}
    for entry in batch:
        if entry[5] is not None:
            groups.setdefault(id(entry[5]), (entry[5], []))[1].append(entry)
    yield from groups.values()


def _exemplars(members: list[Entry]) -> list[Exemplar]:
    return [
        Exemplar(entry[1] / 1e9, entry[0], entry[6], entry[7] or 0)
        for entry in members
        if entry[6] is not None
    ]


def series(histogram: str, kept: Durations, position: Position) -> list[Series]:
    """What a position has of these durations."""
    return [
        Series(histogram, attributes, dict(parts)[position])
        for attributes, parts in kept.values()
        if position in dict(parts)
    ]


def rest(kept: Durations, position: Position) -> Durations:
    """What is left of these durations when a position has had its part."""
    left = {
        key: (attributes, tuple((at, less) for at, part in parts if (less := _rest(at, part, position))))
        for key, (attributes, parts) in kept.items()
    }
    return {key: (attributes, parts) for key, (attributes, parts) in left.items() if parts}


def _rest(at: Position, part: Distribution, collected: Position) -> Distribution | None:
    return at.rest(part) if at is collected else part


def together(one: Durations, other: Durations) -> Durations:
    """The durations of both."""
    whole = dict(one)
    for key, (attributes, parts) in other.items():
        known = dict(whole[key][1]) if key in whole else {}
        for at, part in parts:
            known[at] = known[at].merged(part) if at in known else part
        whole[key] = attributes, tuple(known.items())
    return whole
