"""The file that ``OTEL_CONFIG_FILE`` names: ``opentelemetry-configuration`` sets up the providers from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from opentelemetry import metrics, trace

from codoperf_otel._environment_variables import REDACT, setting_error
from codoperf_otel.sdk import settings
from codoperf_otel.sdk.handle import Part
from codoperf_otel.sdk.settings import Arguments, Settings

VARIABLE = "OTEL_CONFIG_FILE"
INSTALL = "pip install opentelemetry-configuration (it needs opentelemetry-sdk 1.44 or later)"
ALLOWED = "the path of a .yaml, .yml or .json file in OpenTelemetry's configuration schema"


def config_file(environ: Mapping[str, str]) -> str | None:
    """The file, if the variable names one."""
    return environ.get(VARIABLE, "").strip() or None


def resolve(arguments: Arguments, environ: Mapping[str, str]) -> Settings:
    """What arguments add to the file's providers. The other variables hold for that, and for nothing else.

    Raises:
        ValueError: an argument or a variable is wrong, as `codoperf_otel.sdk.settings.resolve` says.
    """
    adds = arguments.endpoint is not None or arguments.file is not None
    resolved = settings.resolve(arguments, environ if adds else {})
    if resolved.hidden is not None:
        given = ("redact", arguments.redact) if arguments.redact else (REDACT, environ[REDACT])
        raise setting_error(*given, f"left out with {VARIABLE}: the file's exporters hide nothing")
    return replace(resolved, outputs=tuple(output for output in resolved.outputs if output.from_argument))


def set_up(file: str) -> Sequence[Part] | None:
    """Let the file's providers be the global ones.

    Returns those that it made, None where it disables the SDK.

    Where there are global providers already, as under ``opentelemetry-instrument``, they stay: none is made.

    Raises:
        ImportError: a package is missing; the message says how to install it.
        ValueError: there is no such file, or it is not as it must be.
    """
    from codoperf_otel.sdk.signals.metrics import GlobalMeterProvider
    from codoperf_otel.sdk.signals.traces import GlobalTracerProvider

    if not (GlobalTracerProvider().is_free and GlobalMeterProvider().is_free):
        return ()
    before = _global_providers()
    if not _apply(file):
        return None
    return [made for made, stood in zip(_global_providers(), before, strict=True) if made is not stood]


def _global_providers() -> tuple[Any, ...]:
    from opentelemetry._logs import get_logger_provider  # for those alone who have a file

    return trace.get_tracer_provider(), metrics.get_meter_provider(), get_logger_provider()


def _apply(file: str) -> bool:
    """Do what the file says; False where it disables the SDK."""
    try:
        from opentelemetry.configuration import ConfigurationError, configure_sdk, load_config_file
    except ImportError as error:
        raise ImportError(f"{VARIABLE} is {file!r}: configure() needs {error.name}: {INSTALL}") from error
    try:
        config = load_config_file(file)
        configure_sdk(config)
    except ImportError as error:  # what the file asks for is not there: the message names it
        raise ImportError(f"{VARIABLE} is {file!r}: {error}") from error
    except (ConfigurationError, TypeError, ValueError) as error:
        raise setting_error(VARIABLE, file, f"{ALLOWED}: {' '.join(str(error).split())}") from None
    return not config.disabled
