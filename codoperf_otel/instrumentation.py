"""Send this package's telemetry, and the readings of the process, to providers that you set up."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from codoperf_otel import _environment_variables as variables
from codoperf_otel import _telemetry
from codoperf_otel._calls.context import continue_from_environment
from codoperf_otel._calls.meters import MEMORY

__all__ = ["CodoperfInstrumentor", "instrument", "instrument_agents", "uninstrument", "uninstrument_agents"]

log = logging.getLogger("codoperf_otel.instrumentation")


def instrument(
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    system: bool = False,
    subprocess: bool = False,
    threads: bool = False,
) -> None:
    """Send spans and metrics to these providers, and begin to report ``process.*`` and ``cpython.gc.*``.

    Without this call, spans and metrics of monitored functions, operations, agents and caches go to the
    global providers. The readings of the process and of the interpreter begin with it. Calling it again
    changes the providers and doubles nothing. A forked child reports its own readings. With
    ``CODOPERF_OTEL_LEAN_SPANS=true`` spans are lean from here on, if the tracer provider is there by now. A
    program that was started with the variables of `propagation_env` goes on from there.

    Args:
        tracer_provider: where spans go; the global one if None.
        meter_provider: where metrics go; the global one if None.
        system: report ``system.*``, the figures of the whole machine, too.
        subprocess: measure the child processes that operations and functions start: CPU time and memory.
        threads: let what runs in a thread belong to the operation and the agent that handed it over, as
            `propagate_context` does, for ``ThreadPoolExecutor.submit``, ``anyio.to_thread.run_sync`` and
            ``threading.Thread``.

    Raises:
        ValueError: a variable of this package is wrong; the message names it, its value and what is allowed.

    >>> instrument()
    >>> uninstrument()
    """
    from codoperf_otel._readings import reporting  # here and below: few programs need it

    variables.check_all()
    _enable_lean_spans()
    reporting.start(tracer_provider, meter_provider, system=system)
    MEMORY.prepare()  # else the first operation would load it, within the span around it
    if subprocess:
        from codoperf_otel import _children

        _children.start()
    continue_from_environment()
    if threads:
        from codoperf_otel._workers import threads as lending

        lending.start()


def uninstrument() -> None:
    """Stop the readings and go back to the global providers; monitored code goes on reporting there.

    What was replaced for ``threads=True`` is put back, and child processes are measured no more.
    """
    from codoperf_otel import _children
    from codoperf_otel._readings import reporting
    from codoperf_otel._workers import threads

    _children.stop()
    reporting.stop()
    threads.stop()


def instrument_agents() -> None:
    """Record the agents and tools of the agent frameworks that are installed, as `agent` and `tool` do.

    It holds for frameworks that are imported already and for those imported later. Where a framework makes a
    span of an agent or a tool, what is known of it is put on that span; elsewhere it has one of ours.
    docs/frameworks.md lists the frameworks. A second call changes nothing.

    Raises:
        ValueError: ``CODOPERF_OTEL_ENABLED`` is wrong.

    >>> instrument_agents()
    >>> uninstrument_agents()
    """
    from codoperf_otel import _frameworks

    _frameworks.start()


def uninstrument_agents() -> None:
    """Put back what `instrument_agents` has replaced in frameworks."""
    from codoperf_otel import _frameworks

    _frameworks.stop()


def _enable_lean_spans() -> bool:
    """Let later bindings have lean spans where the variable says so. Returns whether that is new."""
    if not variables.flag(variables.LEAN_SPANS, default=False):
        return False
    from codoperf_otel.sdk import lean  # only here does this room reach the SDK

    return _telemetry.set_tracer_wrapper(lean.lean_or_own)


@dataclass
class InstrumentorConfiguration:
    """What `CodoperfInstrumentor` takes from a file that ``OTEL_CONFIG_FILE`` names."""

    monitor: list[str] | None = None
    exclude: list[str] | None = None


class CodoperfInstrumentor:
    """Monitoring without touching code, under ``opentelemetry-instrument`` or by a call.

    Agents and tools of agent frameworks are recorded, as `instrument_agents` does. The functions that
    patterns match are monitored, in loaded modules at once, in others when they are loaded. A pattern is
    compared with ``module.qualname``. docs/run.md says what is left alone. All instances share one state.

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
        from codoperf_otel import _zero_code

        return _zero_code.is_running()

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

        The readings of the process begin with `instrument` of this module, not here. Lean spans are chosen as
        there. Other arguments that ``opentelemetry-instrument`` passes are ignored.

        Args:
            monitor: patterns; else those of ``CODOPERF_OTEL_MONITOR``, with commas between. Without any,
                no function is monitored by this.
            exclude: patterns of what is left alone; else those of ``CODOPERF_OTEL_EXCLUDE``.
            tracer_provider: where this package's spans go from now on. If only one provider is given, the
                global one stands in for the other. If none is given, nothing changes.
            meter_provider: where its metrics go.

        Raises:
            ValueError: a pattern or a variable is wrong; the message names it and what is allowed. Where all
                patterns come from variables it is logged instead, so that other instrumentations go on.
        """
        from codoperf_otel import _frameworks, _zero_code
        from codoperf_otel._zero_code.patterns import Patterns, option_patterns

        if _zero_code.is_running():
            return
        try:
            patterns = Patterns(
                option_patterns("monitor", monitor, variables.MONITOR),
                option_patterns("exclude", exclude, variables.EXCLUDE),
            )
            variables.check_all()
            must_bind = _enable_lean_spans()
            _zero_code.start(patterns)
            _frameworks.start()
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
        """Put every original back. What went to the providers given here goes to the global ones again."""
        from codoperf_otel import _frameworks, _zero_code

        _zero_code.stop()
        _frameworks.stop()
        if self._has_bound:
            CodoperfInstrumentor._has_bound = False
            _telemetry.bind()
