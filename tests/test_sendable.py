"""Any text and number can be sent: what no encoder takes loses neither its batch nor its file."""

from __future__ import annotations

import json

import pytest
from opentelemetry.exporter.otlp.proto.common import metrics_encoder, trace_encoder
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Status, StatusCode

from codoperf_otel.sdk.otlp_json.spans import encode_spans
from codoperf_otel.sdk.sendable import DEEPEST, LONGEST_TEXT, SENDABLE

HOSTILE = {
    "half an emoji": ("\ud83d", "\\ud83d"),
    "an undecodable file name": ("\udcff.txt", "\\udcff.txt"),
    "a large integer": (2**64, str(2**64)),
    "one in a list": ([2**64, 1], (str(2**64), 1)),
    "one in a map": ({"\ud83d": 2**64}, {"\\ud83d": str(2**64)}),
    "a long text": ("x" * (LONGEST_TEXT + 1), "x" * (LONGEST_TEXT - 1) + "…"),
}
PLAIN = ["text", "é ☃ 🐍", "NUL: \0", True, 2**63 - 1, -(2**63), 0.5, None, b"\xff", ["a", 1], {"a": [1]}]


@pytest.mark.parametrize("name", HOSTILE)
def test_what_no_encoder_takes_is_written_as_text(name):
    """Surrogates become escapes, large integers text, and long texts are cut."""
    value, expected = HOSTILE[name]
    assert SENDABLE.value(value) == expected


@pytest.mark.parametrize("number", range(len(PLAIN)))
def test_what_can_be_sent_stays_the_same_object(number):
    """Nothing is copied that need not be."""
    assert SENDABLE.value(PLAIN[number]) is PLAIN[number]


@pytest.mark.parametrize("wrap", [lambda value: [value], lambda value: {"a": value}])
def test_what_is_nested_too_deep_is_cut(wrap):
    """Decoders refuse it, and encoders fail at it, which would lose the batch."""
    deep = "bottom"
    for _ in range(100_000):
        deep = wrap(deep)
    shown = repr(SENDABLE.value(deep))
    assert "…" in shown
    assert "bottom" not in shown
    assert shown.count("[") + shown.count("(") + shown.count("{") == DEEPEST


def hostile_spans(text="\ud83d"):
    """Spans that have the text wherever a text may stand."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    tracer.start_span("good").end()
    with tracer.start_as_current_span(f"bad {text}") as span:
        span.set_attributes({text: text, "rows": 2**70})
        span.add_event(f"event {text}", {"text": text})
        span.record_exception(ValueError(text))
        span.add_link(span.get_span_context(), {"text": text})
        span.set_status(Status(StatusCode.ERROR, text))
    return exporter.get_finished_spans()


def test_a_batch_with_hostile_spans_is_encoded_whole(caplog):
    """Over OTLP and in a file nothing of it is left out, and the good span is as it was."""
    spans = hostile_spans()
    sendable = SENDABLE.spans(spans)
    assert sendable[0] is spans[0]
    request = trace_encoder.encode_spans(sendable)
    (bad,) = [span for span in request.resource_spans[0].scope_spans[0].spans if span.name != "good"]
    assert bad.name == "bad \\ud83d"
    assert {one.key for one in bad.attributes} == {"\\ud83d", "rows"}
    assert [len(event.attributes) for event in bad.events] == [1, 4]
    assert bad.status.message == bad.links[0].attributes[0].value.string_value == "\\ud83d"
    json.dumps(encode_spans(sendable), ensure_ascii=False).encode()
    assert caplog.messages == []


def test_hostile_metrics_are_encoded():
    """Attributes are as those of spans, and a sum over 64 bits is a float."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    counter = provider.get_meter("test").create_counter("rows")
    counter.add(2**70, {"file": "\udcff"})
    counter.add(1, {"file": "good"})
    data = SENDABLE.metrics(reader.get_metrics_data())
    provider.shutdown()
    metric = metrics_encoder.encode_metrics(data).resource_metrics[0].scope_metrics[0].metrics[0]
    found = {point.attributes[0].value.string_value: point for point in metric.sum.data_points}
    assert found.keys() == {"\\udcff", "good"}
    assert found["\\udcff"].as_double == 2.0**70
    assert found["good"].as_int == 1


@pytest.mark.parametrize("name", [3, None, b"bytes", "\ud83d"])
def test_a_span_of_any_name_is_sent(name):
    """What is no text is written as one."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    provider.get_tracer("test").start_span(name).end()
    (span,) = (
        trace_encoder.encode_spans(SENDABLE.spans(exporter.get_finished_spans()))
        .resource_spans[0]
        .scope_spans[0]
        .spans
    )
    assert span.name == str(name).encode(errors="backslashreplace").decode()
