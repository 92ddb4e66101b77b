"""The report a person reads: trees, top operations, agents, caches, lazy loads."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.console import Console
from rich.text import Text

from codoperf_otel.cli import _format, _summary, _tables, _tree_view
from codoperf_otel.cli._folding import fold
from codoperf_otel.cli._layout import Table, cut, lines, show
from codoperf_otel.cli._model import Telemetry
from codoperf_otel.cli._trees import Trace, traces

TRACES = 3
ROWS = 10
PLAIN_WIDTH = 100
LEGEND = (
    "waiting: suspended in await or yield · +memory: rise of the process's memory · "
    f"{_format.DASH}: not measured"
)


def console(width: int | None = None) -> Console:
    """A console on stdout that takes text as it is; without a terminal it has a fixed width."""
    plain = Console(markup=False, emoji=False, highlight=False, width=width)
    if width is None and not plain.is_terminal:
        plain.width = PLAIN_WIDTH
    return plain


def render(telemetry: Telemetry, target: Console) -> None:
    """Write the report on *telemetry* to the console *target*."""
    found = traces(telemetry.spans)
    operations = _summary.operations(telemetry.spans)
    loads = _summary.lazy_loads(telemetry.spans)
    _header(telemetry, found, target)
    _trees(found, target)
    _section(target, "Top operations by self CPU", _tables.by_self_cpu(operations[:ROWS]), len(operations))
    growing = _summary.by_memory(operations)
    _section(target, "Top operations by memory", _tables.by_memory(growing[:ROWS]), len(growing))
    agents = _summary.agents(telemetry.spans, telemetry.points)
    _section(target, "Agents", _tables.agents(agents[: 2 * ROWS]), len(agents))
    caches = _summary.caches(telemetry.points)
    _section(target, "Caches", _tables.caches(caches[:ROWS]), len(caches))
    _section(target, "Lazy loads", _tables.lazy_loads(loads[:ROWS]), len(loads))
    if not telemetry.spans:
        metrics = _summary.metrics(telemetry.points)
        _section(target, "Metrics", _tables.metrics(metrics[: 4 * ROWS]), len(metrics))
    show(target, Text())
    show(target, Text(LEGEND, "dim"))


def _header(telemetry: Telemetry, found: list[Trace], target: Console) -> None:
    facts = [_format.plural(len(found), "trace"), _format.plural(len(telemetry.spans), "span")]
    facts.append(f"{len(telemetry.points):,} metric series")
    told = Text("  " + " · ".join(facts), "dim")
    source = cut(Text(_format.clean(telemetry.source), "bold"), max(target.width - told.cell_len, 1))
    show(target, Text.assemble(source, told))


def _trees(found: list[Trace], target: Console) -> None:
    for trace in found[:TRACES]:
        self_cpu = _summary.total(node.span.self_cpu for node in trace.walk())
        show(target, Text())
        show(target, _title(trace))
        table = Table(_tree_view.TITLES, _tree_view.rows(fold(trace.roots), self_cpu))
        for line in lines(table, target.width):
            show(target, line)
    if len(found) > TRACES:
        show(target, Text(f"… and {_format.plural(len(found) - TRACES, 'shorter trace')}", "dim italic"))


def _title(trace: Trace) -> Text:
    services = sorted(map(_format.clean, {node.span.service for node in trace.walk()} - {""}))
    began = datetime.fromtimestamp(trace.start / 1e9, UTC)
    title = Text.assemble(
        (f"Trace {_format.clean(trace.trace_id)}", "bold"), "  ", _format.plural(trace.size, "span")
    )
    if trace.failed:
        title.append(f", {trace.failed:,} failed", "red")
    return title.append(" · ".join(["", *services, f"{began:%Y-%m-%d %H:%M} UTC"]), "dim")


def _section(target: Console, title: str, table: Table, of: int) -> None:
    if not table.rows:
        return
    show(target, Text())
    more = f"  {len(table.rows)} of {of:,}" if of > len(table.rows) else ""
    show(target, Text.assemble((title, "bold"), (more, "dim")))
    for line in lines(table, target.width):
        show(target, line)
