"""The global providers: ours, made where there is none yet, or someone else's, to which ours is added."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from codoperf_otel.sdk.handle import Part
from codoperf_otel.sdk.settings import Output, Settings, Signal

log = logging.getLogger("codoperf_otel.sdk")

_PROXIES = ("ProxyTracerProvider", "_ProxyMeterProvider", "ProxyLoggerProvider")

_ours: list[object] = []  # the global providers that we made


class Slot:
    """The place of one signal's global provider. It can be filled once."""

    signal: ClassVar[Signal]
    adder: ClassVar[str]
    advice: ClassVar[str]

    def __init__(self, provider: Any) -> None:
        self.provider = provider
        self.is_free = type(provider).__name__ in _PROXIES
        self.is_foreign = not self.is_free and provider not in _ours

    def outputs(self, settings: Settings) -> list[Output]:
        """The outputs of this signal; on someone else's provider, those that an argument asked for."""
        outputs = [output for output in settings.outputs if output.signal == self.signal]
        if not self.is_foreign:
            return outputs
        asked = [output for output in outputs if output.asked]
        if not asked or hasattr(self.provider, self.adder):
            return asked
        labels = ", ".join(output.label for output in asked)
        log.warning(
            "A provider of %s is set already: they do not go to %s. %s", self.signal, labels, self.advice
        )
        return []

    def _fill(self, provider: Any, register: Callable[[Any], None]) -> None:
        """Make `provider` the global one, if there is none; else it stands in for ours that is there."""
        if self.is_free:
            register(provider)
            _ours.append(provider)
        self.provider = provider


class TracerSlot(Slot):
    """The global tracer provider."""

    signal = "traces"
    adder = "add_span_processor"
    advice = "Call configure() before it is set: it is not the SDK's, and takes no span processors."

    def __init__(self) -> None:
        super().__init__(trace.get_tracer_provider())

    def add(self, processors: Sequence[SpanProcessor], resource: Resource) -> Sequence[Part]:
        """Let spans go through these processors; gives what has to be flushed and shut down."""
        if self.is_free:
            self._fill(TracerProvider(resource=resource, shutdown_on_exit=False), trace.set_tracer_provider)
        for processor in processors:
            self.provider.add_span_processor(processor)
        return [self.provider] if self.is_free else processors


class MeterSlot(Slot):
    """The global meter provider."""

    signal = "metrics"
    adder = "add_metric_reader"
    advice = (
        "Call configure() before it is set, or use opentelemetry-sdk 1.43 or later, "
        "whose MeterProvider takes further readers."
    )

    def __init__(self) -> None:
        super().__init__(metrics.get_meter_provider())

    def add(self, readers: Sequence[PeriodicExportingMetricReader], resource: Resource) -> Sequence[Part]:
        """Let metrics go through these readers; gives what has to be flushed and shut down."""
        if self.is_foreign:
            for reader in readers:
                self.provider.add_metric_reader(reader)
            return readers
        provider = MeterProvider(readers, resource=resource, shutdown_on_exit=False)
        self._fill(provider, metrics.set_meter_provider)
        return [provider]
