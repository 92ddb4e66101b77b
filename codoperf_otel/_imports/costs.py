"""The imports of a program as a tree, and what each package took."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from codoperf_otel._imports.tracing import FIELDS, Record


@dataclass(slots=True)
class Import:
    """One import, and those that it led to. What could not be measured is None."""

    name: str
    start_unix_ns: int
    duration_ns: int
    cpu_ns: int
    memory_bytes: int | None
    error: str | None
    asked_file: str | None
    asked_line: int | None
    file: str | None
    inner: list[Import] = field(default_factory=list)

    @property
    def self_ns(self) -> int:
        """The time that no import inside it took."""
        return self.duration_ns - total_ns(self.inner)

    @property
    def package(self) -> str:
        """The package at the top."""
        return self.name.partition(".")[0]

    def with_inner(self) -> Iterator[Import]:
        """It, and all that it led to."""
        yield self
        for one in self.inner:
            yield from one.with_inner()


@dataclass(slots=True)
class Package:
    """The modules of one package, and what they took by themselves."""

    name: str
    self_ns: int = 0
    modules: int = 0


def total_ns(imports: Iterable[Import]) -> int:
    """The time inside import statements."""
    return sum(one.duration_ns for one in imports)


def tree(records: Sequence[Record]) -> list[Import]:
    """The imports that no other led to; the others are inside them."""
    made: list[Import] = []
    roots: list[Import] = []
    for record in records:
        values: dict[str, Any] = dict(zip(FIELDS, record, strict=True))
        parent = values.pop("parent")
        made.append(Import(**values))
        (roots if parent is None else made[parent].inner).append(made[-1])
    return roots


def packages(imports: Iterable[Import]) -> list[Package]:
    """What each package took, the most first."""
    found: dict[str, Package] = {}
    for root in imports:
        for one in root.with_inner():
            package = found.setdefault(one.package, Package(one.package))
            package.self_ns += one.self_ns
            package.modules += 1
    return sorted(found.values(), key=lambda package: -package.self_ns)
