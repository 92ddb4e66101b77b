"""The dashboard: committed as the script writes it, well-formed, and asking for what the package emits."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from queries import panels, queries

from codoperf_otel._telemetry import names
from codoperf_otel._telemetry.instruments import INSTRUMENTS, Instrument

pytestmark = pytest.mark.once

FOLDER = Path(__file__).resolve().parent.parent / "dashboards"

PANEL_TYPES = {"row", "stat", "table", "timeseries"}
UNITS = {"binBps", "bytes", "cps", "none", "percentunit", "s"}
COLUMNS = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
VALUES = {"service": ".*", "instance": ".*", "agent": ".*", "__rate_interval": "1m", "__range": "15m"}
UNIT_SUFFIXES = {"s": "_seconds", "By": "_bytes", "1": "_ratio"}

Json = dict[str, Any]


def committed() -> Json:
    return json.loads((FOLDER / "agents-resources.json").read_text(encoding="utf-8"))


def prometheus_names(name: str, instrument: Instrument) -> set[str]:
    """The series that Prometheus makes of one instrument."""
    base = name.replace(".", "_") + UNIT_SUFFIXES.get(instrument.unit, "")
    if instrument.kind == "histogram":
        return {f"{base}{part}" for part in ("_bucket", "_count", "_sum")}
    return {f"{base}_total"} if instrument.kind == "counter" else {base}


def emitted(*kinds: str) -> set[str]:
    return {
        series
        for name, instrument in INSTRUMENTS.items()
        if instrument.kind in kinds
        for series in prometheus_names(name, instrument)
    }


CUMULATIVE = emitted("counter", "histogram")
EMITTED = CUMULATIVE | emitted("gauge", "updowncounter")
LABELS = {value.replace(".", "_") for value in vars(names).values() if isinstance(value, str)} | {
    "le",
    "part",
    "service_name",
    "service_instance_id",
}


def faults(dashboard: Json) -> list[str]:
    """All that is wrong with a dashboard, in words."""
    return [*layout_faults(dashboard), *panel_faults(dashboard), *query_faults(dashboard)]


def layout_faults(dashboard: Json) -> Iterator[str]:
    numbers = [panel["id"] for panel in panels(dashboard)]
    yield from (f"id {number} twice" for number in set(numbers) if numbers.count(number) > 1)
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        if place["x"] + place["w"] > COLUMNS:
            yield f"{panel['title']} is out of the grid"
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                other = taken.setdefault((x, y), panel["title"])
                if other != panel["title"]:
                    yield f"{panel['title']} overlaps {other}"


def panel_faults(dashboard: Json) -> Iterator[str]:
    titles = [panel["title"] for panel in panels(dashboard)]
    yield from (f"title {title} twice" for title in set(titles) if titles.count(title) > 1)
    for panel in panels(dashboard):
        if panel["type"] not in PANEL_TYPES:
            yield f"panel type {panel['type']}"
        if panel["type"] != "row":
            yield from (f"unit {unit}" for unit in units(panel) if unit not in UNITS)
            references = [target["refId"] for target in panel["targets"]]
            if len(set(references)) < len(references):
                yield f"{panel['title']} has a refId twice"
            sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
            if any(source != SOURCE for source in sources):
                yield f"{panel['title']} does not use the data source variable"


def units(panel: Json) -> Iterator[str]:
    config = panel["fieldConfig"]
    if panel["type"] != "table":
        yield config["defaults"]["unit"]
    for override in config["overrides"]:
        yield from (each["value"] for each in override["properties"] if each["id"] == "unit")


def query_faults(dashboard: Json) -> Iterator[str]:
    defined = {variable["name"] for variable in dashboard["templating"]["list"]} | {
        "__rate_interval",
        "__range",
    }
    for panel in panels(dashboard):
        for target in panel.get("targets", ()):
            expr = target["expr"]
            yield from (f"unknown metric {name}" for name in metrics(expr) - EMITTED)
            yield from (f"unknown label {name}" for name in labels(expr) - LABELS)
            yield from (f"unknown variable {name}" for name in set(re.findall(r"\$\{?(\w+)", expr)) - defined)
            yield from (f"rate of {name}, no counter" for name in rated(expr) - CUMULATIVE)
            if re.search(r"\b(increase|irate|delta)\(", expr):
                yield f"{panel['title']} uses increase(), irate() or delta()"
            if any(
                window != "$__rate_interval" for window in re.findall(r"\brate\([^\[]*\[([^\]]*)\]", expr)
            ):
                yield f"{panel['title']} has a rate that is not over $__rate_interval"
            if expr.count("(") != expr.count(")"):
                yield f"{panel['title']} has unbalanced parentheses"


def metrics(expr: str) -> set[str]:
    return set(re.findall(r"(\w+)\{", re.sub(r"\$\{\w+\}", "", expr)))


def labels(expr: str) -> set[str]:
    matched = re.findall(r"(\w+)(?:=~|!=|!~|=)\"", expr)
    grouped = re.findall(r"\b(?:by|on) \(([^)]*)\)", expr)
    return {*matched, *(name for group in grouped for name in group.split(", "))}


def rated(expr: str) -> set[str]:
    return set(re.findall(r"\brate\((\w+)\{", expr))


def first(dashboard: Json, kind: str) -> Json:
    return next(panel for panel in panels(dashboard) if panel["type"] == kind)


def replace_expr(old: str, new: str, *, within: str = "") -> Callable[[Json], None]:
    def plant(dashboard: Json) -> None:
        target = next(
            target
            for panel in panels(dashboard)
            for target in panel.get("targets", ())
            if old in target["expr"] and within in target["expr"]
        )
        target["expr"] = target["expr"].replace(old, new, 1)

    return plant


PLANTED: dict[str, Callable[[Json], None]] = {
    "id 1 twice": lambda board: board["panels"][3].update(id=1),
    "overlaps": lambda board: board["panels"][3]["gridPos"].update(x=0),
    "out of the grid": lambda board: board["panels"][3]["gridPos"].update(x=22),
    "panel type graph": lambda board: first(board, "stat").update(type="graph"),
    "unit sec": lambda board: first(board, "timeseries")["fieldConfig"]["defaults"].update(unit="sec"),
    "refId twice": lambda board: [target.update(refId="A") for target in first(board, "table")["targets"]],
    "data source variable": lambda board: first(board, "table")["targets"][0].update(datasource={"uid": "x"}),
    "title Calls twice": lambda board: first(board, "timeseries").update(title="Calls"),
    "unknown metric codoperf_function_duration_count": replace_expr(
        "_duration_seconds_count", "_duration_count"
    ),
    "unknown label agent": replace_expr("gen_ai_agent_name=~", "agent=~"),
    "unknown label agent_name": replace_expr("by (gen_ai_agent_name)", "by (agent_name)"),
    "unknown variable services": replace_expr("$service", "$services"),
    "no counter": replace_expr("max_over_time(process_memory", "rate(process_memory"),
    "uses increase()": replace_expr("rate(", "increase("),
    "not over $__rate_interval": replace_expr("[$__rate_interval]", "[5m]", within=" (rate("),
    "unbalanced": replace_expr("sum (", "sum "),
}


def generate(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder / "generate.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    folder = tmp_path / "dashboards"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_committed_dashboard_is_what_the_script_writes() -> None:
    """`generate.py --check` accepts the committed file."""
    checked = generate(FOLDER, "--check")
    assert (checked.returncode, checked.stderr) == (0, "")


def test_check_names_a_stale_file_and_changes_nothing(copied: Path) -> None:
    """`--check` ends with 1 and one line on a file that differs, which stays as it is."""
    file = copied / "agents-resources.json"
    file.write_text("{}")
    checked = generate(copied, "--check")
    assert checked.returncode == 1
    assert checked.stderr.splitlines() == [
        f"{file} is stale: run `python dashboards/generate.py` and commit the result"
    ]
    assert file.read_text() == "{}"


def test_check_fails_on_a_missing_file_and_the_script_writes_it(copied: Path) -> None:
    """What the script writes where no file was is the committed file, byte for byte."""
    file = copied / "agents-resources.json"
    file.unlink()
    assert generate(copied, "--check").returncode == 1
    assert generate(copied).returncode == 0
    assert file.read_bytes() == (FOLDER / file.name).read_bytes()


def test_dashboard_has_no_fault() -> None:
    """Layout, panel types, units, data sources, metric and label names, and windows are all right."""
    assert faults(committed()) == []


def test_the_readmes_query_has_no_fault() -> None:
    """What the README asks Prometheus for is emitted, under these names and labels."""
    readme = (FOLDER.parent / "README.md").read_text(encoding="utf-8")
    (query,) = re.findall(r"^```promql\n(.+)\n```$", readme, re.MULTILINE)
    (pattern,) = re.findall(r'__name__=~"([^"]+)"', query)
    assert {name for name in EMITTED if re.fullmatch(pattern, name)} == {
        "codoperf_operation_cpu_time_seconds_total",
        "codoperf_child_process_cpu_time_seconds_total",
    }
    assert labels(query) - LABELS == {"__name__"}


@pytest.mark.parametrize("words", PLANTED)
def test_lint_finds_a_planted_fault(words: str) -> None:
    """The lint above names each kind of fault."""
    dashboard = copy.deepcopy(committed())
    PLANTED[words](dashboard)
    assert any(words in fault for fault in faults(dashboard))


def test_time_panels_share_a_crosshair_and_steps_no_finer_than_the_exports() -> None:
    """All panels over time show one moment together, and none asks for more than is exported."""
    dashboard = committed()
    assert dashboard["graphTooltip"] == 1
    ranges = [target for panel in panels(dashboard) for target in panel.get("targets", ()) if target["range"]]
    assert ranges
    assert {target["interval"] for target in ranges} == {"$interval"}


def test_counts_in_tables_and_numbers_are_counter_values() -> None:
    """No number or table depends on a rate, which one export alone does not have."""
    for panel in panels(committed()):
        if panel["type"] in {"stat", "table"}:
            assert all(target["instant"] for target in panel["targets"])
            assert not any("rate" in target["expr"] for target in panel["targets"])


def test_duration_panels_show_exemplars() -> None:
    """Every panel of quantiles over time asks for exemplars."""
    shown = [
        target["exemplar"]
        for panel in panels(committed())
        for target in panel.get("targets", ())
        if target["range"] and "histogram_quantile" in target["expr"]
    ]
    assert len(shown) == 8
    assert all(shown)


def test_queries_replace_variables_inside_rows_too() -> None:
    """A query's variables are replaced in both spellings, and panels of a collapsed row are found."""
    inner = {"title": "inner", "targets": [{"expr": 'a{b=~"$x"} / c{d="${x}"}[$__range]'}]}
    dashboard = {"panels": [{"title": "row", "panels": [inner]}]}
    assert queries(dashboard, {"x": ".*", "__range": "5m"}) == [("inner", 'a{b=~".*"} / c{d=".*"}[5m]')]


def test_queries_refuse_a_variable_without_value() -> None:
    """A variable that is given no value is an error, not an empty result."""
    with pytest.raises(KeyError, match="x"):
        queries({"panels": [{"title": "t", "targets": [{"expr": "a[$x]"}]}]}, {})


def test_queries_of_the_dashboard_hold_no_variable_any_more() -> None:
    """The documented values are all that the dashboard's queries need."""
    asked = queries(committed(), VALUES)
    assert {title for title, _ in asked} == {p["title"] for p in panels(committed()) if p["type"] != "row"}
    assert not any("$" in expr for _, expr in asked)


def test_variables_ask_for_what_is_emitted() -> None:
    """The choices and the export interval come from series and labels that the package emits."""
    asked = [variable["query"] for variable in committed()["templating"]["list"]]
    assert asked.pop(0) == "prometheus"
    assert {name for query in asked for name in metrics(query["query"])} == {"process_uptime_seconds"}
    filled = [query["query"].rstrip(")").split(", ")[-1] for query in asked[:3]]
    assert filled == ["service_name", "service_instance_id", "gen_ai_agent_name"]


def test_provisioned_exemplars_open_the_provisioned_jaeger() -> None:
    """The trace id of an exemplar leads to the Jaeger data source, and no address is fixed."""
    text = (FOLDER / "provisioning/datasources/codoperf.yaml").read_text(encoding="utf-8")
    sources = {source["type"]: source for source in yaml.safe_load(text)["datasources"]}
    (destination,) = sources["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert destination["name"] == "trace_id"
    assert destination["datasourceUid"] == sources["jaeger"]["uid"]
    assert {kind: source["url"] for kind, source in sources.items()} == {
        "prometheus": "${PROMETHEUS_URL}",
        "jaeger": "${JAEGER_URL}",
    }


def test_compose_mounts_what_is_provisioned() -> None:
    """The compose file sets the addresses and puts the files where the provisioning looks for them."""
    compose = (FOLDER.parent / "collector-config/compose.yaml").read_text(encoding="utf-8")
    grafana = yaml.safe_load(compose)["services"]["grafana"]
    text = (FOLDER / "provisioning/dashboards/codoperf.yaml").read_text(encoding="utf-8")
    (provider,) = yaml.safe_load(text)["providers"]
    mounted = dict(volume.split(":")[:2] for volume in grafana["volumes"])
    assert mounted["../dashboards"] == provider["options"]["path"]
    assert {"PROMETHEUS_URL", "JAEGER_URL"} <= set(grafana["environment"])
