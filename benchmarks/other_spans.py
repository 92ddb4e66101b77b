"""What `ResourceSpanProcessor` adds to the span of another library."""

from __future__ import annotations

from collections.abc import Iterator

import bare
from pairs import Measure, cpu_a_call, ratio

from codoperf_otel.sdk import ResourceSpanProcessor


def _processor() -> Iterator[str]:
    yield f"CPU time, added: {_line(ResourceSpanProcessor())}"
    yield f"with process attributes, added: {_line(ResourceSpanProcessor(memory=True))}"


def _line(processor: ResourceSpanProcessor) -> str:
    return ratio(_added(processor), cpu_a_call(bare.call())).in_us()


def _added(processor: ResourceSpanProcessor) -> Measure:
    measured, plain = cpu_a_call(bare.call(None, processor)), cpu_a_call(bare.call())
    return lambda: measured() - plain()


PARTS = {"processor": _processor}
