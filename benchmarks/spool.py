"""What it costs a span to be on disk before its end returns, on one thread and on eight."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from threading import Thread

import bare
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from pairs import ratio

from codoperf_otel.sdk.errors import Destination
from codoperf_otel.sdk.spool.exporters import SpoolSpanExporter
from codoperf_otel.sdk.spool.folder import Folder
from codoperf_otel.sdk.spool.writer import Writer

SPANS = 200
ROUNDS = 11
THREADS = 8


class _Disk:
    """The way into a spool that nobody sends from."""

    def __init__(self, folder: Path) -> None:
        self._writer = Writer(Folder(folder, float(1 << 30), 3600.0), "traces", Destination("nobody"))

    def put(self, payload: bytes, items: int) -> None:
        """Have it on disk."""
        self._writer.append(payload, items)


def _price(in_batches: bool, threads: int) -> Iterator[str]:
    with tempfile.TemporaryDirectory(dir=Path.home()) as folder:  # /tmp may be memory
        exporter = SpoolSpanExporter(_Disk(Path(folder)))  # type: ignore[arg-type]
        processor = BatchSpanProcessor(exporter) if in_batches else SimpleSpanProcessor(exporter)
        spooled = partial(_seconds, _call(processor), threads)
        plain = partial(_seconds, _call(BatchSpanProcessor(bare.Discard())), threads)
        what = "in batches" if in_batches else "strict"
        yield f"{what}, a span on {threads} thread(s): {ratio(spooled, plain, ROUNDS).in_us()}"


def _call(processor: SpanProcessor) -> Callable[[], None]:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("benchmark")
    return lambda: tracer.start_span("work", attributes={"number": 1}).end()


def _seconds(call: Callable[[], None], number: int) -> float:
    """Seconds a span: that of all threads together."""

    def loop() -> None:
        for _ in range(SPANS // number):
            call()

    threads = [Thread(target=loop) for _ in range(number)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.perf_counter() - began) / SPANS


PARTS = {
    "batches": partial(_price, True, 1),
    "strict": partial(_price, False, 1),
    "strict-threads": partial(_price, False, THREADS),
}
