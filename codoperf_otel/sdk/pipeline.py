"""From settings to running providers, in this process and in the children that it forks."""

from __future__ import annotations

import atexit
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, Resource

from codoperf_otel import _children, _telemetry
from codoperf_otel._readings import reporting
from codoperf_otel._telemetry import names
from codoperf_otel._workers import threads
from codoperf_otel.sdk import ends, grpc_forks, losses
from codoperf_otel.sdk.errors import Destination
from codoperf_otel.sdk.fork_hooks import ForkHooks
from codoperf_otel.sdk.guard import Guard
from codoperf_otel.sdk.handle import Handle, Part
from codoperf_otel.sdk.lean.provider import LeanMeterProvider
from codoperf_otel.sdk.multiprocess import flush_at_process_end
from codoperf_otel.sdk.outputs import Otlp
from codoperf_otel.sdk.resource import child_resource, make_resource
from codoperf_otel.sdk.settings import Settings
from codoperf_otel.sdk.signals.metrics import Metrics
from codoperf_otel.sdk.signals.traces import Traces

if TYPE_CHECKING:
    from codoperf_otel._calls.gc_pauses import GcPauses
    from codoperf_otel._calls.loop_lag import LoopWatches
    from codoperf_otel._imports.watching import ImportWatch
    from codoperf_otel.sdk.live import Live
    from codoperf_otel.sdk.signals.logs import Logs

log = logging.getLogger("codoperf_otel.sdk")


class Pipeline:
    """All that one `configure` makes. A wrong setting shows before anything global is set."""

    def __init__(self, settings: Settings, declared: Sequence[Part], *, lean_metrics: bool) -> None:
        """`declared` are the global providers that a configuration file made: they end with this."""
        destinations = _destinations(settings)
        self._traces = Traces(settings, destinations)
        self._metrics = Metrics(settings, destinations, lean=lean_metrics)
        self._kept: tuple[Traces | Logs, ...] = (self._traces, *_optional_signals(settings, destinations))
        if self._traces.global_provider.is_foreign or self._metrics.global_provider.is_foreign:
            log.info("A global provider is set already: what endpoint= and file= ask for is added to it")
            if settings.hidden is not None:
                log.warning("A global provider is set already: its own exporters hide nothing of redact=")
        self._guards: list[Guard[Any]] = [
            *(guard for signal in self._kept for guard in signal.guards),
            *self._metrics.guards,
        ]
        for guard in self._guards:
            guard.open()
        standing = getattr(self._traces.global_provider.provider, "resource", None)
        self._resource = standing or make_resource(settings.service_name)
        watches = _optional_watches(settings)
        self._kept_parts: list[Part] = [
            *declared,
            *(part for signal in self._kept for part in signal.start(self._resource)),
            *watches,
        ]
        metric_parts = self._metrics.start(self._resource)
        self._live = _live(settings)
        self.handle = Handle(
            settings.shutdown_timeout,
            (*self._kept_parts, *metric_parts),
            tuple(self._guards),
            (*_start_replacing(settings), *(live.end for live in self._live)),
            (*self._giving_up(), *((ends.leave,) if settings.signals else ()), self._leave),
        )
        meter_provider = self._metrics.global_provider.provider
        if self._metrics.global_provider.is_ours:
            _telemetry.begin_counters_anew()
        _telemetry.observe(names.TELEMETRY_DROPPED, losses.observations)
        reporting.start(self._traces.global_provider.provider, meter_provider, system=settings.system)
        for watch in watches:
            watch.start()
        self._hold(_telemetry.active(), meter_provider)
        self._attend(signals=settings.signals)

    def _giving_up(self) -> Iterator[Callable[[], object]]:
        return (queue.give_up for signal in self._kept for queue in signal.queues)

    def _hold(self, binding: _telemetry.Binding, provider: MeterProvider) -> None:
        self._instruments = binding.instruments
        if isinstance(provider, LeanMeterProvider):
            provider.keep_durations(self._instruments)

    def _attend(self, *, signals: bool) -> None:
        """Be there at forks and at the end."""
        atexit.register(self.handle.end_with_process)
        flush_at_process_end(self.handle)
        # made after the SDK's own, which renew the span processors' queues and threads
        self._fork_hooks = ForkHooks(grpc_forks.pause, grpc_forks.resume, self._after_fork_in_child)
        if signals:
            ends.attend(self.handle)

    def _leave(self) -> None:
        """Nothing that outlives it keeps it from now on."""
        atexit.unregister(self.handle.end_with_process)
        self._fork_hooks.leave()
        for signal in self._kept:
            signal.leave()

    def _after_fork_in_child(self) -> None:
        grpc_forks.begin_anew()
        for guard in self._guards:
            guard.inherit()
        if not self.handle.is_running:
            return
        losses.begin_anew()
        for live in self._live:
            live.begin_anew()
        parts = [*self._kept_parts, *self._metrics.inherited()]
        try:
            resource = self._own_resource()
            for signal in self._kept:
                signal.adopt(resource)
            parts += self._renew_metrics(resource)
        except Exception:
            log.warning("This process cannot report metrics of its own", exc_info=True)
        self.handle.set_parts(parts, self._guards)
        flush_at_process_end(self.handle)

    def _own_resource(self) -> Resource:
        parent_id = self._resource.attributes.get(SERVICE_INSTANCE_ID)
        standing = getattr(self._traces.global_provider.provider, "resource", self._resource)
        return child_resource(standing, parent_id)

    def _renew_metrics(self, resource: Resource) -> list[Part]:
        """Measure anew. Other libraries' metrics go on from the parent's counts, by the global provider."""
        if _telemetry.active().instruments is not self._instruments:
            return []
        provider = self._metrics.renew(resource)
        if provider is None:
            return []
        self._hold(_telemetry.bind(self._traces.global_provider.provider, provider), provider)
        self._guards += self._metrics.guards
        return [provider]


def _destinations(settings: Settings) -> dict[str, Destination]:
    """One for each place, which may be that of several signals, each with its own headers."""
    secrets: dict[str, list[str]] = {}
    endpoints: dict[str, Otlp] = {}
    for output in settings.outputs:
        secrets.setdefault(output.label, []).extend(output.secrets)
        if isinstance(output, Otlp):
            endpoints.setdefault(output.label, output)
    return {label: Destination(label, hidden, endpoints.get(label)) for label, hidden in secrets.items()}


def _live(settings: Settings) -> tuple[Live, ...]:
    if settings.live is None:
        return ()
    from codoperf_otel.sdk.live import Live

    return (Live(settings.live),)


def _optional_watches(settings: Settings) -> list[GcPauses | LoopWatches | ImportWatch]:
    watches: list[GcPauses | LoopWatches | ImportWatch] = []
    if settings.gc_pauses:
        from codoperf_otel._calls.gc_pauses import pauses

        watches.append(pauses)
    if settings.event_loop is not None:
        from codoperf_otel._calls.loop_lag import LoopWatches

        watches.append(LoopWatches(settings.event_loop))
    if settings.trace_imports is not None:
        from codoperf_otel._imports.watching import ImportWatch

        watches.append(ImportWatch(settings.trace_imports))
    return watches


def _start_replacing(settings: Settings) -> tuple[Callable[[], object], ...]:
    """Replace what is asked for in the standard library; returns what puts it back."""
    asked = {_children: settings.subprocess, threads: settings.threads}
    modules = [module for module, is_asked in asked.items() if is_asked]
    if settings.asyncio:
        from codoperf_otel._workers import tasks  # which loads asyncio

        modules.append(tasks)
    for module in modules:
        module.start()
    return tuple(module.stop for module in modules)


def _optional_signals(settings: Settings, destinations: Mapping[str, Destination]) -> tuple[Logs, ...]:
    """The signals that are sent only where they are asked for; their modules are loaded only then."""
    if not settings.logs:
        return ()
    from codoperf_otel.sdk.signals.logs import Logs  # 15 ms

    return (Logs(settings, destinations),)
