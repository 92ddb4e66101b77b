"""Exporters that append to files in the OTLP file format: one JSON object a line."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from codoperf_otel.sdk.otlp_json import Json, encode_metrics, encode_spans

_BINARY = getattr(os, "O_BINARY", 0)  # else Windows ends lines in its own way

_encoder = json.JSONEncoder(separators=(",", ":"))


class Lines:
    """A file that processes share: each line is appended by one write.

    Raises:
        OSError: the file cannot be opened, or the disk has no room for the line.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _BINARY, 0o600)
        self._lock = Lock()

    def append(self, document: Json) -> None:
        line = _encoder.encode(document).encode() + b"\n"
        with self._lock:
            if os.write(self._descriptor, line) < len(line):
                raise OSError("no room left for a whole line")

    def close(self) -> None:
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1  # the number may be another file's by now


class FileSpanExporter(SpanExporter):
    """Appends spans to the file at `path`, which it makes with mode 0600 in a folder of mode 0700."""

    def __init__(self, path: Path) -> None:
        self._lines = Lines(path)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Append one line."""
        self._lines.append(encode_spans(spans))
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Close the file."""
        self._lines.close()


class FileMetricExporter(MetricExporter):
    """Appends metrics to the file at `path`, which it makes with mode 0600 in a folder of mode 0700."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._lines = Lines(path)

    def export(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> MetricExportResult:
        """Append one line, unless there is nothing to tell."""
        if metrics_data.resource_metrics:
            self._lines.append(encode_metrics(metrics_data))
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:  # noqa: ARG002
        """Nothing is held back."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:  # noqa: ARG002
        """Close the file."""
        self._lines.close()
