"""Send this package's telemetry, and the readings of the process, to providers that you set up."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from codoperf_otel import _switches, _telemetry

__all__ = ["CodoperfInstrumentor", "instrument", "uninstrument"]

log = logging.getLogger("codoperf_otel.instrumentation")

_has_lean_spans = False


def instrument(
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    system: bool = False,
) -> None:
    """Send spans and metrics to these providers, and begin to report ``process.*`` and ``cpython.gc.*``.

    Spans and metrics of monitored functions, operations, agents and caches go to the global providers
    without this call; the readings of the process and of the interpreter begin with it. Calling it again
    changes the providers and doubles nothing. A forked child reports its own readings. With
    ``CODOPERF_OTEL_LEAN_SPANS=true`` spans are lean from here on, if the tracer provider is there by now.

    Args:
        tracer_provider: where spans go; the global one if None.
        meter_provider: where metrics go; the global one if None.
        system: report ``system.*``, the figures of the whole machine, too.

    Raises:
        ValueError: ``CODOPERF_OTEL_LEAN_SPANS`` is neither true nor false.

    >>> instrument()
    >>> uninstrument()
    """
    # not at the top: a program that never calls this has no use for them
    from codoperf_otel._readings import process
    from codoperf_otel._readings import system as machine

    _heed_lean_spans()
    _telemetry.bind(tracer_provider, meter_provider)
    for readings in (process, machine) if system else (process,):
        readings.start()
        for name, source in readings.SOURCES.items():
            _telemetry.observe(name, source)


def uninstrument() -> None:
    """Stop the readings and go back to the global providers; monitored code goes on reporting there."""
    from codoperf_otel._readings import process, system

    for name in (*process.SOURCES, *system.SOURCES):
        _telemetry.unobserve(name)
    _telemetry.bind()


def _heed_lean_spans() -> bool:
    """Let later bindings have lean spans where the variable says so; True where they did not have them."""
    global _has_lean_spans
    begins = _switches.flag(_switches.LEAN_SPANS, default=False) and not _has_lean_spans
    if begins:
        from codoperf_otel.sdk import lean  # only here does this room reach the SDK

        _telemetry.refine_tracers(lean.refined)
        _has_lean_spans = True
    return begins


@dataclass
class InstrumentorConfiguration:
    """What `CodoperfInstrumentor` takes from a file that ``OTEL_CONFIG_FILE`` names."""

    monitor: list[str] | None = None
    exclude: list[str] | None = None


class CodoperfInstrumentor:
    """Monitoring without touching code, under ``opentelemetry-instrument`` or by a call.

    The functions that patterns match are monitored, in modules that are loaded and as others load. A
    pattern is matched with ``module.qualname``; docs/run.md says what is left alone. All instances are one.

    >>> instrumentor = CodoperfInstrumentor()
    >>> instrumentor.instrument(monitor=["shop.*"], exclude=["shop.legacy.*"])
    >>> instrumentor.is_instrumented_by_opentelemetry
    True
    >>> instrumentor.uninstrument()
    """

    configuration = InstrumentorConfiguration
    _has_bound = False

    @property
    def is_instrumented_by_opentelemetry(self) -> bool:
        """Whether functions are monitored by patterns."""
        from codoperf_otel import _monitoring

        return _monitoring.is_running()

    def instrument(
        self,
        *,
        monitor: str | list[str] | None = None,
        exclude: str | list[str] | None = None,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        **_: Any,
    ) -> None:
        """Monitor what the patterns match, until `uninstrument`. Called again before that, it does nothing.

        The readings of the process begin with `instrument` of this module, not here; lean spans are chosen
        as there. What else ``opentelemetry-instrument`` hands over is not needed.

        Args:
            monitor: patterns; else those of ``CODOPERF_OTEL_MONITOR``, with commas between. Without any,
                no function is monitored by this.
            exclude: patterns of what is left alone; else those of ``CODOPERF_OTEL_EXCLUDE``.
            tracer_provider: where this package's spans go from now on. If one provider is given, the other
                is the global one if None; if none is, nothing changes.
            meter_provider: where its metrics go.

        Raises:
            ValueError: a pattern or a variable is wrong; the message names it and what is allowed. Where all
                comes from variables it is logged instead: other instrumentations are to go on.
        """
        from codoperf_otel import _monitoring
        from codoperf_otel._monitoring.patterns import EXCLUDE, MONITOR, Patterns, chosen

        if _monitoring.is_running():
            return
        try:
            patterns = Patterns(chosen("monitor", monitor, MONITOR), chosen("exclude", exclude, EXCLUDE))
            must_bind = _heed_lean_spans()
            _monitoring.start(patterns)
        except ValueError as error:
            if monitor is not None or exclude is not None:
                raise
            log.error("nothing is monitored: %s", error)
            return
        is_given = tracer_provider is not None or meter_provider is not None
        if is_given or must_bind:
            _telemetry.bind(tracer_provider, meter_provider)
            CodoperfInstrumentor._has_bound = is_given

    def uninstrument(self, **_: Any) -> None:
        """Put every original back; what goes to providers given here goes to the global ones again."""
        from codoperf_otel import _monitoring

        _monitoring.stop()
        if self._has_bound:
            CodoperfInstrumentor._has_bound = False
            _telemetry.bind()
