"""The one object that holds tracer and instruments, and the sources that observables read."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from threading import RLock
from typing import Any
from weakref import finalize

from opentelemetry import metrics, trace
from opentelemetry.metrics import CallbackOptions, Histogram, Meter, MeterProvider, NoOpMeter, Observation
from opentelemetry.metrics import _internal as metrics_api
from opentelemetry.trace import NoOpTracer, Tracer, TracerProvider

from codoperf_otel import _forks
from codoperf_otel.__about__ import __version__
from codoperf_otel._once import OncePerKey
from codoperf_otel._telemetry import names
from codoperf_otel._telemetry.instruments import INSTRUMENTS
from codoperf_otel._telemetry.interrupts import raise_interrupt

log = logging.getLogger("codoperf_otel.telemetry")

Source = Callable[[], Iterable[Observation]]
Sums = dict[tuple[tuple[str, Any], ...], float]
"""What a counter has counted, by attribute set."""

TracerWrapper = Callable[[Tracer], Tracer]

_FACTORIES = {
    "counter": "create_observable_counter",
    "updowncounter": "create_observable_up_down_counter",
    "gauge": "create_observable_gauge",
}
_lock = RLock()
_sources: dict[str, Source] = {}
_before: dict[str, Sums] = {}
_is_first_failure = OncePerKey()
_wrap_tracer: TracerWrapper = lambda tracer: tracer  # noqa: E731  # replaced by set_tracer_wrapper


class _Histograms(dict[str, Histogram]):
    """Histograms by name, each made at its first look-up."""

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


NEVER, SAMPLED, ALWAYS = "always_off", "trace_based", "always_on"
"""Which durations may be exemplars: none, those in sampled spans, all."""


_PROXY = metrics.get_meter_provider()


def _exemplar_filter() -> str:
    given = os.environ.get("OTEL_METRICS_EXEMPLAR_FILTER", "").strip().lower()
    return next((known for known in (NEVER, ALWAYS) if known == given), SAMPLED)


class Instruments:
    """Every instrument of one meter provider, each made once, at its first use.

    `follows_provider` is True for those of the API's own provider: they hand on to the global provider as
    soon as there is one.

    `records_durations` says that durations are recorded in the provider's histograms, `keeps_durations` that
    they are kept in this package until exporters ask for them. Both hold where a reader was added that is not
    this package's, and neither where the provider is disabled.
    """

    def __init__(self, provider: MeterProvider) -> None:
        self.follows_provider = provider is _PROXY and hasattr(metrics_api, "_METER_PROVIDER")
        self.keeps_durations = False
        self.exemplars = _exemplar_filter()
        self._meter = metrics.get_meter(names.SCOPE, __version__, provider, names.SCHEMA_URL)
        self.records_durations = type(self._meter) is not NoOpMeter
        self.histograms: dict[str, Histogram] = _Histograms(self._meter)
        self._observed: set[str] = set()
        self._to_make: list[str] = []
        self._is_making = False

    def has_provider(self) -> bool:
        """Whether what is recorded reaches a provider of an SDK's."""
        return not self.follows_provider or metrics_api._METER_PROVIDER is not None

    def offers(self, trace_flags: int) -> bool:
        """Whether a duration in a span with these flags may be an exemplar."""
        return self.exemplars is ALWAYS or (self.exemplars is SAMPLED and bool(trace_flags & 1))

    def observe(self, name: str) -> None:
        """Make the observable instrument of that name, fed by its registered source.

        One that a signal handler asks for while this thread makes another is made after that: the SDK's lock
        is not reentrant.
        """
        if name in self._observed:
            return
        self._observed.add(name)
        self._to_make.append(name)
        if self._is_making:
            return
        self._is_making = True
        try:
            self._make_all()
        finally:
            self._is_making = False

    def _make_all(self) -> None:
        while self._to_make:
            self._make(self._to_make.pop(0))

    def _make(self, name: str) -> None:
        entry = INSTRUMENTS[name]
        create = getattr(self._meter, _FACTORIES[entry.kind])
        create(name, [self._callback(name)], entry.unit, entry.description)

    def _callback(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def callback(_: CallbackOptions) -> Iterable[Observation]:
            source = _sources.get(name) if in_force.binding.instruments is self else None
            return _counted_since(_before.get(name), _read(name, source)) if source else ()

        return callback


def set_tracer_wrapper(wrap: TracerWrapper) -> bool:
    """Let later bindings use what `wrap` makes of their tracer. Returns False where they do so already."""
    global _wrap_tracer
    is_new = wrap is not _wrap_tracer
    _wrap_tracer = wrap
    return is_new


class Binding:
    """A tracer, and the instruments of the meter provider beside it.

    `follows_provider` is True for the API's own tracer, which makes spans as soon as there is a global
    provider. `makes_spans` is True for all others, but those of a provider that is disabled.
    """

    __slots__ = ("follows_provider", "instruments", "makes_spans", "tracer")

    def __init__(self, tracer_provider: TracerProvider | None, meter_provider: MeterProvider | None) -> None:
        tracer = trace.get_tracer(names.SCOPE, __version__, tracer_provider, names.SCHEMA_URL)
        self.tracer = _wrap_tracer(tracer)
        self.follows_provider = type(tracer) is trace.ProxyTracer and hasattr(trace, "_TRACER_PROVIDER")
        self.makes_spans = not self.follows_provider and type(tracer) is not NoOpTracer
        self.instruments = _instruments_of(meter_provider or metrics.get_meter_provider())


_by_provider: dict[int, Instruments] = {}
"""By the provider's `id`: one of another library's may have no hash."""

_kept: list[MeterProvider] = []


def _instruments_of(provider: MeterProvider) -> Instruments:
    """One `Instruments` per provider: of two instruments with the same name the SDK uses the first only."""
    key = id(provider)
    if key not in _by_provider:
        made = Instruments(provider)
        if made.records_durations and provider is metrics.get_meter_provider() and id(_PROXY) in _by_provider:
            # what was made before there was a global provider belongs to that provider now
            made = _by_provider.pop(id(_PROXY))
        _by_provider[key] = made
        try:
            finalize(provider, _by_provider.pop, key, None).atexit = False
        except TypeError:  # nobody is told when it goes, so it stays: another one would have its `id`
            _kept.append(provider)
    return _by_provider[key]


class InForce:
    """Holds the binding in force. Ask each time: `bind` replaces it."""

    __slots__ = ("binding",)

    def __init__(self) -> None:
        self.binding = Binding(None, None)

    def __reduce__(self) -> str:
        """A decorated function that goes to another process finds there what is in force in that process."""
        return "in_force"


in_force = InForce()


def active() -> Binding:
    """The binding in force."""
    return in_force.binding


def bind(
    tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
) -> Binding:
    """Make a binding to these providers (the global ones where None) and put it in force."""
    with _lock:
        return activate(Binding(tracer_provider, meter_provider))


def activate(binding: Binding) -> Binding:
    """Put a binding in force: a new one, or again one that `active` returned before."""
    with _lock:
        in_force.binding = binding
        for name in _sources:
            binding.instruments.observe(name)
        return binding


def observe(name: str, source: Source) -> None:
    """Feed the observable instrument `name` from `source`, in this binding and in all later ones."""
    with _lock:
        _sources[name] = source
        in_force.binding.instruments.observe(name)


def unobserve(name: str) -> None:
    """Let the observable instrument `name` yield nothing from now on."""
    with _lock:
        _sources.pop(name, None)


def begin_counters_anew() -> None:
    """Let all counters that are observed count from here on, for a provider that begins here."""
    global _before
    with _lock:
        _before = {
            name: _sums(_read(name, source))
            for name, source in _sources.items()
            if INSTRUMENTS[name].kind == "counter"
        }


def _sums(observations: Iterable[Observation]) -> Sums:
    found: Sums = {}
    for observation in observations:
        key = tuple((observation.attributes or {}).items())
        found[key] = found.get(key, 0) + observation.value
    return found


def _counted_since(before: Sums | None, observations: Iterable[Observation]) -> Iterable[Observation]:
    """What was counted since then. Where that is nothing, a set is left out, as before its first count."""
    if not before:
        return observations
    return [
        Observation(total - before.get(key, 0), dict(key))
        for key, total in _sums(observations).items()
        if total != before.get(key)
    ]


@_forks.in_child
def _forked() -> None:
    global _lock
    _lock = RLock()
    _before.clear()


def _read(name: str, source: Source) -> Iterable[Observation]:
    try:
        return list(source())
    except Exception as error:
        raise_interrupt(error)
        if _is_first_failure(name):
            log.warning("%s cannot be read and is left out", name, exc_info=True)
        return ()
