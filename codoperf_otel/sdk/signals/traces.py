"""Spans: their global provider and exporters."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from operator import length_hint
from pathlib import Path

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import (
    ReadableSpan,
    SpanProcessor,
    SynchronousMultiSpanProcessor,
    TracerProvider,
)
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.trace import TraceFlags, get_tracer_provider, set_tracer_provider

from codoperf_otel.sdk.errors import Destination
from codoperf_otel.sdk.exporter_factory import exporter_factory
from codoperf_otel.sdk.fork_hooks import outlive
from codoperf_otel.sdk.guard import Guard
from codoperf_otel.sdk.handle import Part
from codoperf_otel.sdk.lines import Lines
from codoperf_otel.sdk.otlp_json.spans import encode_spans
from codoperf_otel.sdk.outputs import Otlp, Output
from codoperf_otel.sdk.own_resource import with_resource
from codoperf_otel.sdk.providers import GlobalProvider
from codoperf_otel.sdk.queues import Queue
from codoperf_otel.sdk.redaction import redacting
from codoperf_otel.sdk.sendable import Sendable
from codoperf_otel.sdk.settings import Settings
from codoperf_otel.sdk.span_processor import ResourceSpanProcessor

_OTLP = {
    "grpc": "opentelemetry.exporter.otlp.proto.grpc.trace_exporter:OTLPSpanExporter",
    "http/protobuf": "opentelemetry.exporter.otlp.proto.http.trace_exporter:OTLPSpanExporter",
}
_SPOOLED = "codoperf_otel.sdk.spool.exporters:SpoolSpanExporter"


class Traces:
    """The spans of a `configure`. The guards are to be opened before it is started."""

    def __init__(self, settings: Settings, destinations: Mapping[str, Destination]) -> None:
        self.global_provider = GlobalTracerProvider()
        self._exporters = [
            guarded_span_exporter(output, destinations[output.label], redacting(settings.hidden))
            for output in self.global_provider.outputs(settings)
        ]
        self.guards = [exporter.guard for exporter in self._exporters]
        self.queues = [
            Queue(exporter.guard.output, exporter.guard.destination) for exporter in self._exporters
        ]
        self._processors = list(_watching(settings))

    def start(self, resource: Resource) -> Sequence[Part]:
        """Send spans from now on; returns what has to be flushed and shut down."""
        self._processors += map(_processor, self._exporters, self.queues)
        outlive(self._processors)
        return self.global_provider.add(self._processors, resource)

    def leave(self) -> None:
        """Once it is shut down: spans of later set-ups do not come by."""
        self.global_provider.remove(self._processors)

    def adopt(self, resource: Resource) -> None:
        """In a forked child: send under this resource, unless someone else's provider decides it."""
        for queue in self.queues:
            queue.begin_anew()
        if not self.global_provider.is_foreign:
            for exporter in self._exporters:
                exporter.resource = resource


class GlobalTracerProvider(GlobalProvider):
    """The global tracer provider."""

    signal = "traces"
    adder = "add_span_processor"
    advice = "Call configure() before it is set: it is not the SDK's, and takes no span processors."

    def __init__(self) -> None:
        super().__init__(get_tracer_provider())

    def add(self, processors: Sequence[SpanProcessor], resource: Resource) -> Sequence[Part]:
        """Let spans go through these processors; returns what has to be flushed and shut down."""
        if self.is_free:
            self._set(OurTracerProvider(resource), set_tracer_provider)
        if not hasattr(self.provider, self.adder):
            return ()
        for processor in processors:
            self.provider.add_span_processor(processor)
        return [self.provider] if self.is_free else processors


class OurTracerProvider(TracerProvider):
    """The SDK's provider, which lets processors go again."""

    def __init__(self, resource: Resource) -> None:
        self.__processors = _Processors()  # type: ignore[no-untyped-call]
        super().__init__(resource=resource, shutdown_on_exit=False, active_span_processor=self.__processors)

    def remove(self, processors: Collection[SpanProcessor]) -> None:
        """Ask these processors no more."""
        self.__processors.remove(processors)


class _Processors(SynchronousMultiSpanProcessor):
    def remove(self, processors: Collection[SpanProcessor]) -> None:
        with self._lock:
            self._span_processors = tuple(each for each in self._span_processors if each not in processors)


class QueuedSpans(BatchSpanProcessor):
    """The SDK's batch processor behind a queue that loses nothing unnoticed."""

    def __init__(self, exporter: GuardedSpanExporter, queue: Queue) -> None:
        self.__queue = queue
        exporter.taken = queue.take
        self.__hand_on = super().on_end
        super().__init__(exporter, queue.inner_size)

    def on_end(self, span: ReadableSpan) -> None:
        """Hand a sampled span on."""
        queue, context = self.__queue, span.context
        if not (context and context.trace_flags & TraceFlags.SAMPLED):
            return
        if length_hint(queue.free) > queue.full_at or queue.has_room():  # a call costs more
            self.__hand_on(span)
            next(queue.free)

    def force_flush(self, timeout_millis: int | None = None) -> bool:
        """Export what there is."""
        with self.__queue.flushing():
            return super().force_flush(timeout_millis)

    def shutdown(self) -> None:
        """Export what there is and end."""
        try:
            super().shutdown()  # type: ignore[no-untyped-call]
        finally:
            self.__queue.end()


class StrictSpans(SpanProcessor):
    """Has each span in the spool before its end returns. The SDK's swallows the exceptions of time-outs."""

    def __init__(self, exporter: GuardedSpanExporter) -> None:
        self._exporter = exporter

    def on_end(self, span: ReadableSpan) -> None:
        """Export a sampled span."""
        if span.context and span.context.trace_flags.sampled:
            self._exporter.export((span,))

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002
        """Nothing is held back."""
        return True

    def shutdown(self) -> None:
        """End the exporter."""
        self._exporter.shutdown()


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


class GuardedSpanExporter(SpanExporter):
    """A span exporter under a guard."""

    def __init__(self, guard: Guard[SpanExporter], sendable: Sendable) -> None:
        self.guard = guard
        self._sendable = sendable
        self.resource: Resource | None = None
        self.taken: Callable[[int], object] = int

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Hand the spans on."""
        if not self.taken(len(spans)):
            return SpanExportResult.FAILURE

        def export(exporter: SpanExporter) -> SpanExportResult:
            return exporter.export(self._sendable.spans(with_resource(spans, self.resource)))

        return self.guard.send(export, SpanExportResult.FAILURE, len(spans))

    def shutdown(self) -> None:
        """Close the guard."""
        self.guard.close()


def _processor(exporter: GuardedSpanExporter, queue: Queue) -> SpanProcessor:
    output = exporter.guard.output
    is_strict = isinstance(output, Otlp) and output.spool is not None and output.spool.is_strict
    return StrictSpans(exporter) if is_strict else QueuedSpans(exporter, queue)


def _watching(settings: Settings) -> Iterator[SpanProcessor]:
    """The processors that look at spans and export none."""
    if settings.asyncio:
        from codoperf_otel.sdk.task_follower import TaskFollower  # which loads asyncio

        yield TaskFollower()
    if settings.other_spans:
        yield ResourceSpanProcessor()


def guarded_span_exporter(
    output: Output, destination: Destination, sendable: Sendable
) -> GuardedSpanExporter:
    """The exporter of an output, whose guard is to be opened first."""
    factory = exporter_factory(
        output,
        destination,
        otlp=_OTLP,
        file=FileSpanExporter,
        console=lambda: ConsoleSpanExporter(formatter=_printed),
        spooled=_SPOOLED,
    )
    return GuardedSpanExporter(Guard(output, destination, factory), sendable)


def _printed(span: ReadableSpan) -> str:
    """A span as the SDK prints it, which reads its own private fields: those of what is sent."""
    sent = ReadableSpan(
        span.name,
        span.context,
        span.parent,
        span.resource,
        span.attributes,
        span.events,
        span.links,
        span.kind,
        status=span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )
    return f"{sent.to_json()}\n"
