"""What `configure` is asked for, by its arguments and by the standard variables, checked and put together."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from codoperf_otel._environment_variables import folder, setting_error
from codoperf_otel._live.folder import chosen
from codoperf_otel._readings.sampler import is_seconds
from codoperf_otel.sdk.endpoints import otlp
from codoperf_otel.sdk.outputs import Console, File, Otlp, Output, Signal, Spool
from codoperf_otel.sdk.redact_setting import Hidden, redact_setting
from codoperf_otel.sdk.spool_setting import for_endpoint, spool_setting
from codoperf_otel.sdk.standard_variables import Variables, check_numbers

INSTALL = "pip install 'codoperf-otel[otlp]'"
EXPORTERS = ("otlp", "console", "none")
TEMPORALITIES = ("cumulative", "delta", "lowmemory")
AGGREGATIONS = ("explicit_bucket_histogram", "base2_exponential_bucket_histogram")


class Arguments(NamedTuple):
    """The arguments of `configure`."""

    service_name: str | None = None
    endpoint: str | None = None
    file: str | os.PathLike[str] | None = None
    shutdown_timeout: float = 5.0
    metric_export_interval: float | None = None
    logs: bool = False
    system: bool = False
    subprocess: bool = True
    threads: bool = True
    gc_pauses: bool = False
    event_loop: float | None = None
    other_spans: bool = True
    asyncio: bool = False
    trace_imports: float | None = None
    durable: bool | Literal["strict"] | None = None
    signals: bool = True
    redact: Sequence[str | re.Pattern[str]] | str | None = None
    live: bool | None = None


@dataclass(frozen=True)
class Settings:
    """All that `configure` has to know; files come first, so that nothing slower holds them up."""

    service_name: str | None
    outputs: tuple[Output, ...]
    shutdown_timeout: float
    metric_export_interval: float | None
    temporality: str
    histogram_aggregation: str
    logs: bool
    system: bool
    subprocess: bool
    threads: bool
    gc_pauses: bool
    event_loop: float | None
    other_spans: bool
    asyncio: bool
    trace_imports: float | None
    signals: bool
    hidden: Hidden | None
    live: Path | None


def resolve(arguments: Arguments, environ: Mapping[str, str]) -> Settings:
    """Put arguments and variables together.

    Raises:
        ValueError: one of them is wrong; the message names it, its value and what is allowed.
    """
    variables = Variables(environ)
    check_numbers(variables)
    for name, seconds in (
        ("shutdown_timeout", arguments.shutdown_timeout),
        ("metric_export_interval", arguments.metric_export_interval),
        ("event_loop", arguments.event_loop),
        ("trace_imports", arguments.trace_imports),
    ):
        if not is_seconds(seconds) and (seconds is not None or name == "shutdown_timeout"):
            raise setting_error(name, seconds, "a number of seconds above 0")
    if arguments.service_name is not None and not _is_text(arguments.service_name):
        raise setting_error("service_name", arguments.service_name, "a text that is not empty")
    signals: tuple[Signal, ...] = ("traces", "metrics", "logs") if arguments.logs else ("traces", "metrics")
    spool = spool_setting(arguments.durable)
    outputs = [output for signal in signals for output in _outputs(signal, arguments, variables, spool)]
    if arguments.durable and not any(isinstance(output, Otlp) for output in outputs):
        raise setting_error("durable", arguments.durable, "left out where nothing is sent over OTLP")
    return Settings(
        arguments.service_name,
        tuple(sorted(outputs, key=lambda output: not isinstance(output, File))),
        arguments.shutdown_timeout,
        arguments.metric_export_interval,
        variables.choice("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", TEMPORALITIES),
        variables.choice("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", AGGREGATIONS),
        arguments.logs,
        arguments.system,
        arguments.subprocess,
        arguments.threads,
        arguments.gc_pauses,
        arguments.event_loop,
        arguments.other_spans,
        arguments.asyncio,
        arguments.trace_imports,
        arguments.signals,
        redact_setting(arguments.redact),
        chosen(arguments.live),
    )


def is_disabled(environ: Mapping[str, str]) -> bool:
    """True where the standard variable switches the SDK off."""
    return environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def _outputs(
    signal: Signal, arguments: Arguments, variables: Variables, spool: Spool | None
) -> Iterator[Output]:
    if arguments.file is not None:
        yield File(signal, folder("file", arguments.file) / f"{signal}.jsonl")
    for exporter in _exporters(signal, arguments, variables):
        if exporter == "console":
            yield Console(signal)
        else:
            output = otlp(signal, arguments.endpoint, variables)
            yield replace(output, spool=spool and for_endpoint(spool, output))


def _exporters(signal: Signal, arguments: Arguments, variables: Variables) -> list[str]:
    """The variable's exporters, else OTLP, unless a file is all that was asked for."""
    setting = variables.get(f"OTEL_{signal.upper()}_EXPORTER")
    if setting is None:
        endpoint = arguments.endpoint or variables.otlp(signal, "ENDPOINT")
        return ["otlp"] if endpoint or arguments.file is None else []
    named = {name.strip().lower(): None for name in setting.value.split(",")}
    if not named.keys() <= set(EXPORTERS):
        raise setting_error(*setting, f"one of {', '.join(EXPORTERS)}, or several with commas between")
    return [name for name in named if name != "none"]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
