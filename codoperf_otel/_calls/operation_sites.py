"""The sites of operations: blocks and functions that are counted under a given name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from codoperf_otel import _forks
from codoperf_otel._calls.cells import OPERATION
from codoperf_otel._calls.meters import MEMORY, Meter
from codoperf_otel._calls.sites import Report, Site
from codoperf_otel._calls.usage_log import log_usage
from codoperf_otel._statistics.monitor import global_monitor
from codoperf_otel._telemetry import names

if TYPE_CHECKING:
    from codoperf_otel._calls.allocation_meter import AllocationMeter


def tracked_site(operation: str, name: str | None = None, *, allocations: bool = False) -> Site:
    """The site of an operation whose resources are logged when it ends."""
    meters: tuple[Meter, ...] = (MEMORY, allocation_meter()) if allocations else (MEMORY,)
    return operation_site(operation, name, log_usage, meters=meters)


def allocation_meter() -> AllocationMeter:
    """The meter of allocations. Few programs ask for it, so it is not imported at the top."""
    with _forks.importing.lock:
        from codoperf_otel._calls.allocation_meter import ALLOCATIONS
    return ALLOCATIONS


def operation_site(
    operation: str,
    name: str | None = None,
    report: Report | None = None,
    attributes: Mapping[str, Any] | None = None,
    meters: tuple[Meter, ...] = (MEMORY,),
) -> Site:
    """The site of an operation, counted by the global monitor under `name`, else under its own."""
    return Site(
        name or operation,
        operation,
        family=OPERATION,
        cell_name=operation,
        histogram=names.OPERATION_DURATION,
        monitor=global_monitor,
        meters=meters,
        attributes={names.OPERATION_NAME: operation, **(attributes or {})},
        report=report,
    )
