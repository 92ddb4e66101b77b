"""What the process knows of its operations: the rows that a recording would have of them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from codoperf_otel._calls.call_ledgers import CallLedger
from codoperf_otel._calls.cells import Cell, all_cells
from codoperf_otel._calls.lineages import OTHER
from codoperf_otel._report.operations import Operation
from codoperf_otel._report.sums import highest, ratio, total
from codoperf_otel._statistics.ledgers import Entry
from codoperf_otel._statistics.monitor import global_monitor
from codoperf_otel._statistics.summaries import merged
from codoperf_otel._telemetry import names
from codoperf_otel._telemetry.attribute_sets import OVERFLOW


def operations() -> list[Operation]:
    """Every operation that was called, the one with the most CPU time first."""
    groups: dict[tuple[str, str | None], list[Cell]] = defaultdict(list)
    for cell in all_cells():
        if cell.totals()[0]:
            groups[_span_name(cell), cell.attributes.get(names.GEN_AI_AGENT_NAME)].append(cell)
    found = [_operation(name, agent, cells) for (name, agent), cells in groups.items()]
    return sorted(_with_shares(found), key=lambda operation: -(operation.total_cpu_seconds or 0.0))


def durations() -> dict[str, list[float]]:
    """The durations in seconds of the newest calls, by operation, in their order."""
    found: dict[str, list[float]] = defaultdict(list)
    for entry in global_monitor.statistics.newest_entries():
        ledger = entry[-1]
        if isinstance(ledger, CallLedger) and not _has_failed(entry):
            found[ledger.span_name].append(entry[1] / 1e9)
    return found


def _has_failed(entry: Entry) -> bool:
    return names.ERROR_TYPE in (entry[5] or {})


def _span_name(cell: Cell) -> str:
    if cell.attributes is OVERFLOW:
        return OTHER
    for ledger in cell.ledgers():
        return ledger.span_name
    return str(next(iter(cell.attributes.values())))  # its monitors are gone: what its metrics call it


def _operation(name: str, agent: str | None, cells: list[Cell]) -> Operation:
    self_cpu = total(cell.cpu_seconds() for cell in cells)
    children = total(cell.child_process_seconds() for cell in cells)
    memory = [cell.peaks.ever() for cell in cells]
    times = merged(ledger.summary for cell in cells for ledger in cell.ledgers()).seconds
    return Operation(
        name=name,
        agent=agent,
        calls=sum(cell.totals()[0] for cell in cells),
        errors=sum(cell.failures.value() or 0 for cell in cells),
        average_wall_seconds=ratio(times.total, times.number),
        total_cpu_seconds=total([self_cpu, children]),
        total_cpu_share=None,
        self_cpu_seconds=self_cpu,
        self_cpu_share=None,
        child_process_cpu_seconds=children,
        memory_growth_bytes=highest(growth for _, growth in memory),
        memory_peak_bytes=highest(peak for peak, _ in memory),
    )


def _with_shares(found: list[Operation]) -> list[Operation]:
    everything = total(operation.total_cpu_seconds for operation in found)
    own = total(operation.self_cpu_seconds for operation in found)
    return [
        replace(
            operation,
            total_cpu_share=ratio(operation.total_cpu_seconds, everything),
            self_cpu_share=ratio(operation.self_cpu_seconds, own),
        )
        for operation in found
    ]
