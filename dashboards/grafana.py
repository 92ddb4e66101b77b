"""Grafana's JSON model: the panels used here, their layout, and the dashboard around them."""

from __future__ import annotations

from typing import Any, NamedTuple

Json = dict[str, Any]

COLUMNS = 24
SOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}


class Query(NamedTuple):
    """An expression, and its name in the legend or the table's heading; the unit is for a table's column."""

    expr: str
    name: str = ""
    unit: str = "short"


class Row(NamedTuple):
    """A heading and the panels under it, all of one height."""

    title: str
    height: int
    panels: tuple[Json, ...]


def stat(title: str, unit: str, expr: str, description: str) -> Json:
    """One number for the whole time range."""
    options: Json = {
        "colorMode": "none",
        "graphMode": "none",
        "justifyMode": "center",
        "orientation": "auto",
        "percentChangeColorMode": "standard",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "showPercentChange": False,
        "textMode": "value",
        "wideLayout": True,
    }
    targets = [_instant(0, Query(expr), "time_series")]
    return _panel("stat", title, 3, description, targets, {"unit": unit}, options)


def graph(
    title: str,
    width: int,
    unit: str,
    description: str,
    *queries: Query,
    stacked: bool = False,
    line: str | None = None,
    exemplars: bool = False,
) -> Json:
    """Lines over time, or stacked areas with one `line` over them."""
    custom: Json = {
        "axisWidth": 80,
        "drawStyle": "line",
        "fillOpacity": 40 if stacked else 0,
        "insertNulls": False,
        "lineInterpolation": "linear",
        "lineWidth": 1,
        "showPoints": "auto",
        "spanNulls": False,
        "stacking": {"group": "A", "mode": "normal" if stacked else "none"},
    }
    defaults = {"color": {"mode": "palette-classic-by-name"}, "custom": custom, "min": 0, "unit": unit}
    targets = [_range(number, query, exemplars) for number, query in enumerate(queries)]
    overrides = [_dashed("p50$")] if exemplars else [_unstacked(line)] if line else []
    return _panel(
        "timeseries", title, width, description, targets, defaults, _graph_options(width), overrides
    )


def table(
    title: str, width: int, description: str, labels: dict[str, str], *columns: Query, sort: str
) -> Json:
    """One line for each combination of labels (label: heading), sorted by a column, highest first."""
    targets = [_instant(number, column, "table") for number, column in enumerate(columns)]
    values = {f"Value #{_ref(number)}": column.name for number, column in enumerate(columns)}
    names = labels | values
    organize = {
        "excludeByName": {"Time": True},
        "includeByName": {},
        "indexByName": {name: place for place, name in enumerate(names)},
        "renameByName": names,
    }
    transformations = [{"id": "merge", "options": {}}, {"id": "organize", "options": organize}]
    overrides = [_override("byName", column.name, unit=column.unit) for column in columns]
    options = {
        "cellHeight": "sm",
        "frameIndex": 0,
        "showHeader": True,
        "sortBy": [{"desc": True, "displayName": sort}],
    }
    defaults = {
        "custom": {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": True, "inspect": False}
    }
    panel = _panel("table", title, width, description, targets, defaults, options, overrides)
    return panel | {"transformations": transformations}


def variable(name: str, label: str, query: str, **others: Any) -> Json:
    """A variable that Prometheus fills, anew when the time range changes."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"qryType": 5, "query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "hide": 0,
        "multi": False,
        "includeAll": False,
        "regex": "",
        "options": [],
    } | others


def choice(name: str, label: str, query: str) -> Json:
    """A variable of which several may be chosen; all of them means also those without the label."""
    everything = {"selected": True, "text": ["All"], "value": ["$__all"]}
    return variable(name, label, query, multi=True, includeAll=True, allValue=".*", current=everything)


def dashboard(uid: str, title: str, description: str, variables: list[Json], rows: tuple[Row, ...]) -> Json:
    """The dashboard, its panels numbered and laid out row after row."""
    source = {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "refresh": 1,
        "hide": 0,
        "multi": False,
        "includeAll": False,
        "regex": "",
        "options": [],
    }
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["codoperf", "opentelemetry"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "time": {"from": "now-15m", "to": "now"},
        "timepicker": {},
        "timezone": "browser",
        "refresh": "10s",
        "links": [],
        "annotations": {"list": []},
        "templating": {"list": [source, *variables]},
        "panels": _laid_out(rows),
    }


def _laid_out(rows: tuple[Row, ...]) -> list[Json]:
    """Panels from left to right, a new line where the next one does not fit."""
    placed: list[Json] = []
    y = 0
    for row in rows:
        placed.append(_heading(row.title) | _place(len(placed), 0, y, COLUMNS, 1))
        x, y = 0, y + 1
        for panel in row.panels:
            width = panel["gridPos"]["w"]
            if x + width > COLUMNS:
                x, y = 0, y + row.height
            placed.append(panel | _place(len(placed), x, y, width, row.height))
            x += width
        y += row.height
    return placed


def _place(number: int, x: int, y: int, width: int, height: int) -> Json:
    return {"id": number + 1, "gridPos": {"x": x, "y": y, "w": width, "h": height}}


def _heading(title: str) -> Json:
    return {"type": "row", "title": title, "collapsed": False, "panels": []}


def _panel(
    kind: str,
    title: str,
    width: int,
    description: str,
    targets: list[Json],
    defaults: Json,
    options: Json,
    overrides: list[Json] | None = None,
) -> Json:
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": SOURCE,
        "gridPos": {"w": width},
        "fieldConfig": {"defaults": defaults, "overrides": overrides or []},
        "options": options,
        "targets": targets,
    }


def _graph_options(width: int) -> Json:
    """A legend of fixed width beside a wide panel, so that the time axes of such panels are in line."""
    wide = {
        "calcs": ["max"],
        "displayMode": "table",
        "placement": "right",
        "showLegend": True,
        "sortBy": "Max",
        "sortDesc": True,
        "width": 340 if width == COLUMNS else 220,
    }
    narrow = {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": True}
    legend = wide if width >= COLUMNS // 2 else narrow
    return {"legend": legend, "tooltip": {"hideZeros": True, "mode": "multi", "sort": "desc"}}


def _range(number: int, query: Query, exemplars: bool) -> Json:
    """A query over time, in steps no finer than what the processes export."""
    return _target(number, query) | {
        "range": True,
        "instant": False,
        "format": "time_series",
        "interval": "$interval",
        "exemplar": exemplars,
    }


def _instant(number: int, query: Query, shape: str) -> Json:
    return _target(number, query) | {"range": False, "instant": True, "format": shape, "exemplar": False}


def _target(number: int, query: Query) -> Json:
    return {
        "refId": _ref(number),
        "datasource": SOURCE,
        "editorMode": "code",
        "expr": query.expr,
        "legendFormat": query.name or "__auto",
    }


def _ref(number: int) -> str:
    return chr(ord("A") + number)


def _override(matcher: str, of: str, **properties: Any) -> Json:
    listed = [{"id": name, "value": value} for name, value in properties.items()]
    return {"matcher": {"id": matcher, "options": of}, "properties": listed}


def _dashed(pattern: str) -> Json:
    return _override("byRegexp", f"/{pattern}/", **{"custom.lineStyle": {"dash": [4, 4], "fill": "dash"}})


def _unstacked(name: str) -> Json:
    return _override(
        "byName",
        name,
        color={"fixedColor": "text", "mode": "fixed"},
        **{
            "custom.fillOpacity": 0,
            "custom.lineWidth": 2,
            "custom.stacking": {"group": "A", "mode": "none"},
        },
    )
