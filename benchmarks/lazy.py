"""A lazy loader: making one, and an attribute of a loaded one against that of the usual proxy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from timeit import repeat
from types import ModuleType
from typing import Any

from pairs import Measure, ratio

from codoperf_otel.lazy_loader import LazyLoader, lazy_import

READS = 20_000


class Proxy:
    """Asks the module for each attribute, as lazy modules usually do."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def _reads(holder: Any) -> Measure:
    return lambda: min(repeat(lambda: holder.dumps, number=READS, repeat=3)) / READS


def _empty() -> Measure:
    """What the loop and its function take by themselves."""
    return lambda: min(repeat(lambda: None, number=READS, repeat=3)) / READS


def _without(overhead: Measure, measure: Measure) -> Measure:
    return lambda: measure() - overhead()


def _attribute() -> Iterator[str]:
    loader = lazy_import("json")
    assert loader.dumps is json.dumps
    for what, other in (("a proxy by __getattr__", Proxy(json)), ("the module itself", json)):
        pair = ratio(_without(_empty(), _reads(loader)), _without(_empty(), _reads(other)), rounds=51)
        yield f"an attribute of a loaded loader against {what}: {pair}, {pair.measured * 1e9:.0f} ns"


def _creation() -> Iterator[str]:
    make: Callable[[], object] = lambda: LazyLoader("json")  # noqa: E731
    seconds = min(repeat(make, number=READS, repeat=21)) / READS
    yield f"a loader is made in {seconds * 1e9:.0f} ns"


PARTS = {"attribute": _attribute, "creation": _creation}
