"""The one object that holds tracer and instruments, and the sources that observables read."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from threading import RLock
from weakref import WeakKeyDictionary

from opentelemetry import metrics, trace
from opentelemetry.metrics import CallbackOptions, Histogram, Meter, MeterProvider, Observation
from opentelemetry.trace import Tracer, TracerProvider

from codoperf_otel.__about__ import __version__
from codoperf_otel._telemetry import names
from codoperf_otel._telemetry.instruments import INSTRUMENTS

log = logging.getLogger("codoperf_otel.telemetry")

Source = Callable[[], Iterable[Observation]]

_FACTORIES = {
    "counter": "create_observable_counter",
    "updowncounter": "create_observable_up_down_counter",
    "gauge": "create_observable_gauge",
}
_lock = RLock()
_sources: dict[str, Source] = {}
_failed: set[str] = set()
_refine: Callable[[Tracer], Tracer] = lambda tracer: tracer  # noqa: E731  # replaced by refine_tracers


class _Histograms(dict[str, Histogram]):
    """Histograms by name; a call that looks one up pays for no more than that."""

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self._meter = meter

    def __missing__(self, name: str) -> Histogram:
        with _lock:
            if name not in self:
                entry = INSTRUMENTS[name]
                self[name] = self._meter.create_histogram(
                    name, entry.unit, entry.description, explicit_bucket_boundaries_advisory=entry.bounds
                )
            return self[name]


class Instruments:
    """Every instrument of one meter provider, each made once, at its first use."""

    def __init__(self, provider: MeterProvider) -> None:
        self._meter = metrics.get_meter(names.SCOPE, __version__, provider)
        self.histograms: dict[str, Histogram] = _Histograms(self._meter)
        self._observed: set[str] = set()

    def observe(self, name: str) -> None:
        """Make the observable instrument of that name, fed by its registered source."""
        if name not in self._observed:
            self._observed.add(name)
            entry = INSTRUMENTS[name]
            create = getattr(self._meter, _FACTORIES[entry.kind])
            create(name, [self._callback(name)], entry.unit, entry.description)

    def _callback(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def callback(_: CallbackOptions) -> Iterable[Observation]:
            source = _sources.get(name) if _active.instruments is self else None
            return _read(name, source) if source else ()

        return callback


def refine_tracers(refine: Callable[[Tracer], Tracer]) -> None:
    """Let later bindings use what `refine` makes of their tracer."""
    global _refine
    _refine = refine


class Binding:
    """A tracer, and the instruments of the meter provider beside it."""

    __slots__ = ("histograms", "instruments", "tracer")

    def __init__(self, tracer_provider: TracerProvider | None, meter_provider: MeterProvider | None) -> None:
        self.tracer = _refine(trace.get_tracer(names.SCOPE, __version__, tracer_provider))
        self.instruments = _instruments_of(meter_provider or metrics.get_meter_provider())
        self.histograms = self.instruments.histograms


_PROXY = metrics.get_meter_provider()
_by_provider: WeakKeyDictionary[MeterProvider, Instruments] = WeakKeyDictionary()


def _instruments_of(provider: MeterProvider) -> Instruments:
    """One `Instruments` a provider: of two instruments with one name the SDK heeds the first only."""
    if provider not in _by_provider:
        # what was made before there was a global provider belongs to that provider now
        follows_proxy = provider is metrics.get_meter_provider() and _PROXY in _by_provider
        _by_provider[provider] = _by_provider.pop(_PROXY) if follows_proxy else Instruments(provider)
    return _by_provider[provider]


_active = Binding(None, None)


def active() -> Binding:
    """The binding in force. Ask each time: `bind` replaces it."""
    return _active


def bind(
    tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
) -> Binding:
    """Make a binding to these providers (the global ones where None) and put it in force."""
    with _lock:
        return activate(Binding(tracer_provider, meter_provider))


def activate(binding: Binding) -> Binding:
    """Put a binding in force: a new one, or again the one that `active` gave before."""
    global _active
    with _lock:
        _active = binding
        for name in _sources:
            binding.instruments.observe(name)
        return binding


def observe(name: str, source: Source) -> None:
    """Feed the observable instrument `name` from `source`, in this binding and in all later ones."""
    with _lock:
        _sources[name] = source
        _active.instruments.observe(name)


def unobserve(name: str) -> None:
    """Let the observable instrument `name` give nothing from now on."""
    with _lock:
        _sources.pop(name, None)


def _forked() -> None:
    global _lock
    _lock = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def _read(name: str, source: Source) -> Iterable[Observation]:
    try:
        return list(source())
    except Exception:
        if name not in _failed:
            _failed.add(name)
            log.warning("%s cannot be read and is left out", name, exc_info=True)
        return ()
