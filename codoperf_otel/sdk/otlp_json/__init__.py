"""Spans, metrics and log records as OTLP JSON objects.

The result is what the OTLP exporters' encoder and protobuf's JSON printer give together, with ids as hex.
It is made directly, because the way over protobuf takes four times as long a span, and its import alone
takes as long as a short program. `logs` stands apart: the SDK's part for them is loaded only where needed.
"""

from codoperf_otel.sdk.otlp_json.common import Json
from codoperf_otel.sdk.otlp_json.metrics import encode_metrics
from codoperf_otel.sdk.otlp_json.spans import encode_spans

__all__ = ["Json", "encode_metrics", "encode_spans"]
