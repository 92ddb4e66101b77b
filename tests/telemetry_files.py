"""What stands in the files of a folder of telemetry."""

from __future__ import annotations

import json


def _lines(folder, signal_name):
    return [json.loads(line) for line in (folder / f"{signal_name}.jsonl").read_text().splitlines()]


def spans(folder):
    """All spans."""
    return [
        span
        for line in _lines(folder, "traces")
        for group in line["resourceSpans"]
        for scope in group["scopeSpans"]
        for span in scope["spans"]
    ]


def spans_named(folder, name):
    """How many spans have a name."""
    return sum(span["name"] == name for span in spans(folder))


def calls_counted(folder, metric="codoperf.function.duration"):
    """The calls that a histogram counts: the last count of each process, summed up."""
    last = {}
    for line in _lines(folder, "metrics"):
        for group in line["resourceMetrics"]:
            attributes = {item["key"]: item["value"] for item in group["resource"]["attributes"]}
            process = json.dumps(attributes["service.instance.id"])
            for scope in group["scopeMetrics"]:
                for found in scope["metrics"]:
                    if found["name"] == metric:
                        points = found["histogram"]["dataPoints"]
                        last[process] = sum(int(point["count"]) for point in points)
    return sum(last.values())
