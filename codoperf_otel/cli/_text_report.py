"""The report a person reads: trees, top operations, caches, lazy loads, agents."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from rich.console import Console
from rich.text import Text

from codoperf_otel._report.agents import agents
from codoperf_otel._report.caches import caches
from codoperf_otel._report.drops import drops
from codoperf_otel._report.folding import fold
from codoperf_otel._report.lazy_loads import lazy_loads
from codoperf_otel._report.metrics import metrics
from codoperf_otel._report.model import Telemetry
from codoperf_otel._report.operations import by_memory, operations
from codoperf_otel._report.sums import total
from codoperf_otel._report.trees import Trace, traces
from codoperf_otel.cli import _format, _tables, _tree_view
from codoperf_otel.cli._layout import Table, cut, lines, parts, show
from codoperf_otel.cli._legend import left_out, legend

TRACES = 3
ROWS = 10
PLAIN_WIDTH = 100


def console(width: int | None = None) -> Console:
    """A console on stdout that prints text as it is; its width is fixed where stdout is not a terminal."""
    plain = Console(markup=False, emoji=False, highlight=False, width=width)
    if width is None and not plain.is_terminal:
        plain.width = PLAIN_WIDTH
    return plain


def render(telemetry: Telemetry, target: Console) -> None:
    """Write the report on *telemetry* to the console *target*."""
    found = traces(telemetry.spans)
    _header(telemetry, found, target)
    for drop in drops(telemetry.points):
        text = f"Not delivered everywhere: {drop.items:,} of {drop.signal} ({drop.reason.replace('_', ' ')})"
        show(target, Text(_format.clean(text), "yellow"), wrap=True)
    shown = [part for trace in found[:TRACES] for part in _show_trace(trace, target)]
    if len(found) > TRACES:
        show(target, Text(f"… and {_format.plural(len(found) - TRACES, 'shorter trace')}", "dim italic"))
    for section in _sections(telemetry):
        shown += _show_section(*section, target) if section[1].rows else []
    for part in (left_out(shown, target.width), legend(shown, target.width)):
        if part:
            show(target, Text())
        for line in part:
            show(target, Text(line, "dim"))


def _sections(telemetry: Telemetry) -> Iterator[tuple[str, Table, int]]:
    """The summaries: title, table, and how many rows it would have in full."""
    spans, points = telemetry.spans, telemetry.points
    ranked = operations(spans)
    by_cpu = _tables.by_cpu(ranked[:ROWS])
    yield f"Top operations by {by_cpu.titles[1]}", by_cpu, len(ranked)
    growing = by_memory(ranked)
    yield "Top operations by memory", _tables.by_memory(growing[:ROWS]), len(growing)
    looked_up = caches(points)
    yield "Caches", _tables.caches(looked_up[:ROWS]), len(looked_up)
    loads = lazy_loads(spans)
    yield "Lazy loads", _tables.lazy_loads(loads[:ROWS]), len(loads)
    at_work = agents(spans, points)
    yield "Agents", _tables.agents(at_work[: 2 * ROWS]), len(at_work)
    if not spans:
        series = metrics(points)
        yield "Metrics", _tables.metrics(series[: 4 * ROWS]), len(series)


def _header(telemetry: Telemetry, found: list[Trace], target: Console) -> None:
    facts = [_format.plural(len(found), "trace"), _format.plural(len(telemetry.spans), "span")]
    facts.append(f"{len(telemetry.points):,} metric series")
    counted = Text("  " + " · ".join(facts), "dim")
    source = cut(Text(_format.clean(telemetry.source), "bold"), max(target.width - counted.cell_len, 1))
    show(target, Text.assemble(source, counted))


def _show_trace(trace: Trace, target: Console) -> list[Table]:
    """Draw a trace as a tree, and return the table that was shown."""
    all_cpu = total(node.span.total_cpu for node in trace.walk())
    show(target, Text())
    show(target, _title(trace), wrap=True)
    return _show_table(Table(_tree_view.TITLES, _tree_view.rows(fold(trace.roots), all_cpu)), target)


def _title(trace: Trace) -> Text:
    services = sorted(map(_format.clean, {node.span.service for node in trace.walk()} - {""}))
    began = datetime.fromtimestamp(trace.start / 1e9, UTC)
    title = Text.assemble(
        (f"Trace {_format.clean(trace.trace_id)}", "bold"), "  ", _format.plural(trace.size, "span")
    )
    if trace.failed:
        title.append(f", {trace.failed:,} failed", "red")
    return title.append(" · ".join(["", *services, f"{began:%Y-%m-%dT%H:%MZ}"]), "dim")


def _show_section(title: str, table: Table, of: int, target: Console) -> list[Table]:
    show(target, Text())
    more = f"  {len(table.rows)} of {of:,}" if of > len(table.rows) else ""
    show(target, Text.assemble((title, "bold"), (more, "dim")))
    return _show_table(table, target)


def _show_table(table: Table, target: Console) -> list[Table]:
    shown = list(parts(table, target.width))
    for part in shown:
        for line in lines(part, target.width):
            show(target, line)
    return shown
