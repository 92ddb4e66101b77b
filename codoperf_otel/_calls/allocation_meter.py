"""The meter of what Python allocates in a call. It is imported only where that is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import Span

from codoperf_otel import _telemetry
from codoperf_otel._calls.meters import OpenMeter
from codoperf_otel._readings.allocations import Allocations, AllocationSite, Tracing
from codoperf_otel._telemetry import names

if TYPE_CHECKING:
    from codoperf_otel._calls.cells import Cell

_MIB = 1 << 20


class AllocationMeter:
    """Measures what the process allocates, and by which lines of code."""

    def prepare(self) -> None:
        """Nothing: this module has loaded it."""

    def open(self, cell: Cell | None = None) -> OpenAllocations:  # noqa: ARG002
        """Begin to measure a call, or what is not one."""
        return OpenAllocations()

    def __reduce__(self) -> str:
        """A decorated function goes to another process, where this is the same."""
        return "ALLOCATIONS"


ALLOCATIONS = AllocationMeter()


class OpenAllocations(OpenMeter):
    """What is allocated while a call runs; `found` at its end, where it is known."""

    __slots__ = ("_tracing", "found")

    def __init__(self) -> None:
        self.found: Allocations | None = None
        self._tracing = Tracing()

    def close(self, ended_ns: int = 0) -> Mapping[str, Any]:  # noqa: ARG002
        """End the measurement."""
        found = self.found = self._tracing.close()
        return {} if found is None else {names.MEMORY_ALLOCATED: found.size}

    def summary(self) -> dict[str, Any]:
        """The same for people: sizes in MiB."""
        if self.found is None:
            return {}
        sites = [
            {"file": site.file, "line": site.line, "size_mb": site.size / _MIB, "count": site.blocks}
            for site in self.found.sites
        ]
        return {"allocated_mb": self.found.size / _MIB, "top_allocations": sites}

    def mark(self, span: Span) -> None:
        """One event per line of code, the one that allocated most first."""
        for site in self.found.sites if self.found is not None else ():
            _telemetry.add_event(span, names.MEMORY_ALLOCATION_EVENT, _described(site))


def _described(site: AllocationSite) -> dict[str, Any]:
    return {
        names.CODE_FILE_PATH: site.file,
        names.CODE_LINE_NUMBER: site.line,
        names.MEMORY_ALLOCATED: site.size,
        names.MEMORY_ALLOCATION_COUNT: site.blocks,
    }
