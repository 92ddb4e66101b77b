"""What it costs a span to be redacted before it is written, beside making it sendable and encoding it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pairs import ratio

from codoperf_otel.sdk.otlp_json.spans import encode_spans
from codoperf_otel.sdk.redact_setting import redact_setting
from codoperf_otel.sdk.redaction import redacting
from codoperf_otel.sdk.sendable import SENDABLE, Sendable

SPANS = 512
ROUNDS = 21
NAMES = ["*password*", "*secret*", "*token*", "*authorization*"]
TEXTS = [re.compile(r"sk-\w{8,}"), re.compile(r"\b[\w.+-]+@[\w-]+\.[\w.]+\b")]


def _spans() -> Sequence[ReadableSpan]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("benchmark")
    for number in range(SPANS):
        attributes = {
            "code.function.name": "shop.orders.place",
            "code.file.path": "/srv/shop/orders.py",
            "url.full": f"https://example.org/orders/{number}?page=3",
            "codoperf.cpu.time": 0.25,
            "rows": number,
            "cached": True,
        }
        tracer.start_span("place", attributes=attributes).end()
    return exporter.get_finished_spans()


def _price(patterns: Sequence[str | re.Pattern[str]]) -> Iterator[str]:
    spans = _spans()
    redaction = redacting(redact_setting(patterns))

    def seconds(sendable: Sendable) -> float:
        began = time.process_time()
        json.dumps(encode_spans(sendable.spans(spans)))
        return (time.process_time() - began) / SPANS

    found = ratio(lambda: seconds(redaction), lambda: seconds(SENDABLE), ROUNDS)
    yield f"{len(patterns)} patterns, a span of six attributes in a file: {found.in_us()}"


PARTS = {
    "names": lambda: _price(NAMES),
    "texts": lambda: _price(TEXTS),
    "both": lambda: _price([*NAMES, *TEXTS]),
}
