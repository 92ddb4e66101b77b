"""A trace as rows: the figures of each span and, under it, what went wrong and what was loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rich.text import Text

from codoperf_otel._report.folding import Group
from codoperf_otel._report.lazy_loads import LazyLoad, lazy_loads
from codoperf_otel._report.model import Span, string
from codoperf_otel._report.sums import highest, ratio, total
from codoperf_otel._telemetry import names
from codoperf_otel.cli import _format
from codoperf_otel.cli._cells import cell, heat
from codoperf_otel.cli._layout import Row

TITLES = (
    "span",
    "wall",
    "whole CPU",
    "self CPU",
    "child CPU",
    "longest",
    "waiting",
    "+memory",
    "peak",
    "CPU",
)
LOADS_PER_SPAN = 3


def rows(whole: Group, all_cpu: float | None) -> list[Row]:
    """The rows of a folded trace, whose spans and child processes used *all_cpu* seconds."""
    return list(_rows(whole, "", all_cpu))


def _rows(group: Group, rail: str, all_cpu: float | None) -> Iterator[Row]:
    for at, child in enumerate(group.children):
        last = at == len(group.children) - 1 and not group.hidden
        branch, below = _guides(child, rail, last=last)
        yield _row(child, branch, below, all_cpu)
        yield from _rows(child, below, all_cpu)
    if group.children and group.hidden:
        yield _rest(group, "" if group.depth < 0 else rail + "└─ ")


def _guides(group: Group, rail: str, *, last: bool) -> tuple[str, str]:
    """The lines of the tree before a group, and before what is below it."""
    if group.depth == 0:
        return "", ""
    return (rail + "└─ ", rail + "   ") if last else (rail + "├─ ", rail + "│  ")


def _row(group: Group, branch: str, below: str, all_cpu: float | None) -> Row:
    spans = group.spans
    own, programs = total(span.self_cpu for span in spans), total(span.child_process_cpu for span in spans)
    rail = below + ("│  " if group.children else "   ")
    return Row(
        lead=Text(branch, "dim"),
        name=_name(spans[0]),
        tail=_tail(group),
        cells=[
            cell(_format.duration(total(span.wall for span in spans)), "bold" if group.depth == 0 else ""),
            cell(_format.duration(total(node.whole_cpu for node in group.nodes))),
            cell(_format.duration(own), heat(ratio(own, all_cpu))),
            cell(_format.duration(programs), heat(ratio(programs, all_cpu))),
            _longest(spans),
            cell(_format.duration(total(span.suspended for span in spans))),
            cell(_format.growth(highest(span.memory_growth for span in spans))),
            cell(_format.memory(highest(span.memory_peak for span in spans))),
            cell(_format.duration(total(span.cpu for span in spans))),
        ],
        notes=[Text.assemble((rail, "dim"), note) for note in _notes(spans)],
    )


def _rest(group: Group, branch: str) -> Row:
    nodes = [node for hidden in group.hidden for node in hidden.nodes]
    failed = sum(node.failed for node in nodes)
    text = f"… and {_format.plural(group.unseen, 'more span')}"
    tail = Text(f", {failed:,} failed", "red") if failed else Text()
    times = (total(node.span.wall for node in nodes), total(node.whole_cpu for node in nodes))
    cells = [cell(_format.duration(time), "dim") for time in times]
    return Row(Text(text, "dim italic"), cells, Text(branch, "dim"), tail)


def _name(span: Span) -> Text:
    """The span's name; the name of an agent or tool in it stands out."""
    name = _format.clean(span.name) or "(no name)"
    style = "red" if span.failed else ""
    for prefix, accent in ((names.INVOKE_AGENT, "bold cyan"), (names.EXECUTE_TOOL, "green")):
        if name.startswith(prefix + " "):
            return Text.assemble((prefix + " ", "dim"), (name.removeprefix(prefix + " "), style or accent))
    return Text(name, style)


def _longest(spans: list[Span]) -> Text:
    """The longest of several; that of one span is its wall time, which stands beside it."""
    return cell(_format.duration(highest(span.wall for span in spans))) if len(spans) > 1 else Text()


def _tail(group: Group) -> Text:
    tail = Text(_format.times(len(group.nodes)), "bold")
    if group.hidden and not group.children:
        tail.append(f" … {group.unseen:,} below", "dim italic")
    for outcome, count in Counter(string(span.attributes, names.OUTCOME) for span in group.spans).items():
        if outcome:
            tail.append(f" {_format.clean(outcome)}{_format.times(count)}", "yellow")
    return tail


def _notes(spans: list[Span]) -> Iterator[Text]:
    failed = [span for span in spans if span.failed]
    if failed:
        yield _failure(failed, len(spans))
    events = Counter(event.name for span in spans for event in span.events)
    hits, misses = events[names.CACHE_HIT_EVENT], events[names.CACHE_MISS_EVENT]
    if hits or misses:
        yield Text(f"cache {hits:,} hit, {misses:,} missed", "blue")
    loads = lazy_loads(spans)
    yield from (_load(load) for load in loads[:LOADS_PER_SPAN])
    if len(loads) > LOADS_PER_SPAN:
        yield Text(f"↓ {_format.plural(len(loads) - LOADS_PER_SPAN, 'more lazy load')}", "magenta")


def _failure(failed: list[Span], of: int) -> Text:
    kinds = Counter(span.error_type for span in failed)
    listed = ", ".join(f"{kind}{_format.times(count)}" for kind, count in kinds.most_common(3))
    message = failed[0].error_message
    text = f"✗ {f'{len(failed):,} failed: ' if of > 1 else ''}{listed}{f': {message}' if message else ''}"
    return Text(_format.clean(text), "red")


def _load(load: LazyLoad) -> Text:
    text = f"↓ lazy {_format.clean(load.module)} {_format.duration(load.duration_seconds)}"
    if load.memory_growth_bytes is not None:
        text += f", {_format.growth(load.memory_growth_bytes)}"
    return Text(text, "magenta").append(f" {_format.clean(load.error)}" if load.error else "", "red")
