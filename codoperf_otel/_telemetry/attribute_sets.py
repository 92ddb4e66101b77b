"""The bound on cardinality: the only place where attribute sets are counted."""

from __future__ import annotations

from collections.abc import Hashable
from threading import RLock
from typing import Any

from codoperf_otel import _forks
from codoperf_otel._telemetry import names

Attributes = dict[str, Any]

MAX_ATTRIBUTE_SETS = 1999

OVERFLOW: Attributes = {names.METRIC_OVERFLOW: True}

_lock = RLock()  # reentrant: a signal handler or a finalizer may ask while this thread does
_free = MAX_ATTRIBUTE_SETS


def attribute_set(attributes: Attributes) -> Attributes:
    """Take a place for an attribute set: returns `attributes`, or the overflow set if no place is left."""
    global _free
    with _lock:
        if _free == 0:
            return OVERFLOW
        _free -= 1
        return attributes


class AttributeSets:
    """Attribute sets by key. Each takes its place once; in a forked child it takes one anew."""

    def __init__(self) -> None:
        self._taken: dict[Hashable, Attributes] = {}
        _all.append(self)

    def get(self, key: Hashable, attributes: Attributes) -> Attributes:
        """The set of that key, which has these attributes; the overflow set if no place is left."""
        with _lock:
            found = self._taken.get(key)
            if found is None:
                found = attribute_set(attributes)
                if found is not OVERFLOW:
                    self._taken[key] = found
            return found

    def begin_anew(self) -> None:
        """Let each set take its place anew."""
        self._taken.clear()


_all: list[AttributeSets] = []


def with_agent(attributes: Attributes, agent: str | None) -> Attributes:
    """The attributes, and the agent's name where there is one."""
    return attributes if agent is None else {**attributes, names.GEN_AI_AGENT_NAME: agent}


@_forks.in_child
def _forked() -> None:
    global _lock, _free
    _lock = RLock()
    _free = MAX_ATTRIBUTE_SETS
    for sets in _all:
        sets.begin_anew()
