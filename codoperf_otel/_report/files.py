"""Reads telemetry files, one line at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from codoperf_otel._report.model import MetricPoint, Problem, Span, Telemetry
from codoperf_otel._report.otlp_json import DataPoint, decode
from codoperf_otel._report.processes import count_once


class UnreadableError(Exception):
    """There is nothing to read at a path; the text is one line that names the path."""


FILES = ("traces.jsonl", "metrics.jsonl")


def read(path: Path) -> Telemetry:
    """Read one OTLP JSON-lines file, or those of a folder.

    A line that cannot be used is in ``problems`` of the result. A path that is missing, unreadable or empty
    raises `UnreadableError`.
    """
    telemetry = Telemetry(str(path))
    series = _Series()
    for file in _files(path):
        _read_file(file, telemetry, series)
    telemetry.points = series.points()
    count_once(telemetry.spans)
    return telemetry


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = [path / name for name in FILES if (path / name).exists()]
    if not found:
        raise UnreadableError(f"{path}: has neither {' nor '.join(FILES)}")
    if not any(file.stat().st_size for file in found):
        raise UnreadableError(f"{path}: {' and '.join(file.name for file in found)} empty")
    return [file for file in found if file.stat().st_size]


def _read_file(file: Path, telemetry: Telemetry, series: _Series) -> None:
    empty = True
    for number, line in _lines(file):
        empty = False
        problems: list[str] = []
        try:
            for item in decode(json.loads(line), problems.append):
                if isinstance(item, Span):
                    telemetry.spans.append(item)
                else:
                    series.add(item)
        except (ValueError, RecursionError) as error:
            problems.append(_reason(error))
        telemetry.problems += (Problem(str(file), number, reason) for reason in problems)
    if empty:
        raise UnreadableError(f"{file}: the file is empty")


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that hold something, with their numbers."""
    try:
        with file.open("rb") as lines:
            yield from ((number, line) for number, line in enumerate(lines, 1) if not line.isspace())
    except OSError as error:
        raise UnreadableError(f"{file}: {error.strerror}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} at column {error.colno}"
    if isinstance(error, UnicodeDecodeError):
        return "not text in UTF-8"
    if isinstance(error, RecursionError):
        return "nested too deep"
    return str(error)


class _Series:
    """The newest value of every cumulative series, the sum of every delta series."""

    def __init__(self) -> None:
        self._newest: dict[tuple[object, ...], DataPoint] = {}

    def add(self, data_point: DataPoint) -> None:
        """Take one data point."""
        known = self._newest.get(data_point.series)
        if known is not None and data_point.is_delta:
            _accumulate(known.point, data_point.point)
        elif known is None or data_point.time >= known.time:
            self._newest[data_point.series] = data_point

    def points(self) -> list[MetricPoint]:
        """One point per series."""
        return [data_point.point for data_point in self._newest.values()]


def _accumulate(total: MetricPoint, point: MetricPoint) -> None:
    total.value += point.value
    if total.count is not None and point.count is not None:
        total.count += point.count
