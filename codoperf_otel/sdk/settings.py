"""What `configure` is asked for, by its arguments and by the standard variables, checked and put together."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, NamedTuple, cast
from urllib.parse import SplitResult, urlsplit

Signal = Literal["traces", "metrics", "logs"]
Protocol = Literal["grpc", "http/protobuf"]

INSTALL = "pip install 'codoperf-otel[otlp]'"
PROTOCOLS = ("grpc", "http/protobuf")
EXPORTERS = ("otlp", "console", "none")
COMPRESSIONS = {"grpc": ("none", "gzip"), "http/protobuf": ("none", "gzip", "deflate")}
TEMPORALITIES = ("cumulative", "delta", "lowmemory")
AGGREGATIONS = ("explicit_bucket_histogram", "base2_exponential_bucket_histogram")
URL = "an http:// or https:// URL with a host, such as http://localhost:4318"
NUMBERS = (
    "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BLRP_MAX_QUEUE_SIZE",
    "OTEL_BLRP_SCHEDULE_DELAY",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT",
    "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_METRIC_EXPORT_INTERVAL",
    "OTEL_METRIC_EXPORT_TIMEOUT",
)


class Arguments(NamedTuple):
    """The arguments of `configure`."""

    service_name: str | None = None
    endpoint: str | None = None
    file: str | os.PathLike[str] | None = None
    shutdown_timeout: float = 5.0
    metric_export_interval: float | None = None
    logs: bool = False
    system: bool = False


@dataclass(frozen=True)
class File:
    """One signal, appended to a file in the OTLP file format."""

    signal: Signal
    path: Path
    asked = True

    @property
    def label(self) -> str:
        """What messages call it."""
        return str(self.path)


@dataclass(frozen=True)
class Console:
    """One signal, printed."""

    signal: Signal
    asked = False
    label = "the console"


@dataclass(frozen=True)
class Otlp:
    """One signal, sent over OTLP; `asked` where the ``endpoint`` argument, not a variable, says so."""

    signal: Signal
    protocol: Protocol
    url: str
    compression: str
    label: str
    asked: bool


Output = File | Console | Otlp


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


class _Setting(NamedTuple):
    name: str
    value: str


def resolve(arguments: Arguments, environ: Mapping[str, str]) -> Settings:
    """Put arguments and variables together.

    Raises:
        ValueError: one of them is wrong; the message names it, its value and what is allowed.
    """
    variables = _Variables(environ)
    for name in NUMBERS:
        _check_number(variables.get(name))
    for name, seconds in (
        ("shutdown_timeout", arguments.shutdown_timeout),
        ("metric_export_interval", arguments.metric_export_interval),
    ):
        if seconds is not None and not _is_positive(seconds):
            raise wrong(name, seconds, "a number of seconds above 0")
    if arguments.service_name is not None and not _is_text(arguments.service_name):
        raise wrong("service_name", arguments.service_name, "a text that is not empty")
    signals: tuple[Signal, ...] = ("traces", "metrics", "logs") if arguments.logs else ("traces", "metrics")
    outputs = [output for signal in signals for output in _outputs(signal, arguments, variables)]
    return Settings(
        arguments.service_name,
        tuple(sorted(outputs, key=lambda output: not isinstance(output, File))),
        arguments.shutdown_timeout,
        arguments.metric_export_interval,
        variables.choice("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", TEMPORALITIES),
        variables.choice("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", AGGREGATIONS),
        arguments.logs,
        arguments.system,
    )


def is_disabled(environ: Mapping[str, str]) -> bool:
    """True where the standard variable switches the SDK off."""
    return environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def wrong(name: str, value: object, allowed: str) -> ValueError:
    """The one form of the error for a wrong setting; a password in a URL is not shown."""
    shown = re.sub(r"//[^/@]*@", "//***@", value) if isinstance(value, str) else value
    return ValueError(f"{name} is {shown!r}: it must be {allowed}")


class _Variables:
    """The variables that are set: an empty one counts as unset, as OpenTelemetry has it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def get(self, *names: str) -> _Setting | None:
        """The first of these variables that is set."""
        values = ((name, self._environ.get(name, "").strip()) for name in names)
        return next((_Setting(name, value) for name, value in values if value), None)

    def otlp(self, signal: Signal, what: str) -> _Setting | None:
        """The OTLP variable of the signal, else the one of all signals."""
        return self.get(*_otlp_names(signal, what))

    def choice(self, name: str | tuple[str, ...], allowed: tuple[str, ...], default: str = "") -> str:
        """The value of a variable that has a few; the first is the default unless another is given."""
        setting = self.get(*((name,) if isinstance(name, str) else name))
        if setting is None:
            return default or allowed[0]
        if setting.value.lower() not in allowed:
            raise wrong(*setting, f"one of {', '.join(allowed)}")
        return setting.value.lower()


def _otlp_names(signal: Signal, what: str) -> tuple[str, str]:
    return f"OTEL_EXPORTER_OTLP_{signal.upper()}_{what}", f"OTEL_EXPORTER_OTLP_{what}"


def _outputs(signal: Signal, arguments: Arguments, variables: _Variables) -> Iterator[Output]:
    if arguments.file is not None:
        yield File(signal, _folder(arguments.file) / f"{signal}.jsonl")
    for exporter in _exporters(signal, arguments, variables):
        yield Console(signal) if exporter == "console" else _otlp(signal, arguments, variables)


def _exporters(signal: Signal, arguments: Arguments, variables: _Variables) -> list[str]:
    """The variable's exporters, else OTLP, unless a file is all that was asked for."""
    setting = variables.get(f"OTEL_{signal.upper()}_EXPORTER")
    if setting is None:
        endpoint = arguments.endpoint or variables.otlp(signal, "ENDPOINT")
        return ["otlp"] if endpoint or arguments.file is None else []
    chosen = {name.strip().lower(): None for name in setting.value.split(",")}
    if not chosen.keys() <= set(EXPORTERS):
        raise wrong(*setting, f"one of {', '.join(EXPORTERS)}, or several with commas between")
    return [name for name in chosen if name != "none"]


def _otlp(signal: Signal, arguments: Arguments, variables: _Variables) -> Otlp:
    setting = variables.otlp(signal, "ENDPOINT")
    if arguments.endpoint is not None:
        setting = _Setting("endpoint", arguments.endpoint)
    parts = _split(setting) if setting else None
    protocol = _protocol(signal, parts, variables)
    if setting is None or parts is None:
        setting = _Setting("the default endpoint", f"http://localhost:{4317 if protocol == 'grpc' else 4318}")
        parts = urlsplit(setting.value)
    _check_form(setting, parts, protocol)
    _check_credentials(signal, setting, parts, variables)
    return Otlp(
        signal,
        protocol,
        _url(signal, protocol, setting),
        variables.choice(_otlp_names(signal, "COMPRESSION"), COMPRESSIONS[protocol]),
        f"{parts.scheme or 'grpc'}://{parts.netloc.rpartition('@')[2]}",
        setting.name == "endpoint",
    )


def _protocol(signal: Signal, endpoint: SplitResult | None, variables: _Variables) -> Protocol:
    default = "http/protobuf" if endpoint and endpoint.port == 4318 else "grpc"
    return cast("Protocol", variables.choice(_otlp_names(signal, "PROTOCOL"), PROTOCOLS, default))


def _url(signal: Signal, protocol: Protocol, setting: _Setting) -> str:
    """The address as the exporters take it: over HTTP, all but a signal's own variable are base URLs."""
    if protocol == "grpc" or setting.name == f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT":
        return setting.value
    return f"{setting.value.rstrip('/')}/v1/{signal}"


def _split(setting: _Setting) -> SplitResult:
    try:
        parts = urlsplit(setting.value if "://" in setting.value else f"//{setting.value}")
        parts.port  # noqa: B018  it is checked when it is read
    except (ValueError, TypeError):
        raise wrong(*setting, URL) from None
    return parts


def _check_form(setting: _Setting, parts: SplitResult, protocol: Protocol) -> None:
    """A variable may also hold gRPC's own ``host:port``."""
    schemes = ["http", "https"]
    if protocol == "grpc" and setting.name != "endpoint":
        schemes.append("")
    if parts.scheme not in schemes or not parts.hostname:
        raise wrong(*setting, URL)
    if protocol == "grpc" and "@" in parts.netloc:
        raise wrong(*setting, "without user and password over gRPC; OTEL_EXPORTER_OTLP_HEADERS takes them")


def _check_credentials(signal: Signal, setting: _Setting, parts: SplitResult, variables: _Variables) -> None:
    insecure = variables.otlp(signal, "INSECURE")
    encrypted = parts.scheme == "https" or (
        not parts.scheme and (insecure is None or insecure.value.lower() != "true")
    )
    headers = variables.otlp(signal, "HEADERS")
    if (headers or "@" in parts.netloc) and not encrypted and not _is_loopback(parts.hostname or ""):
        source = headers.name if headers else "a password"
        raise wrong(*setting, f"an https:// URL or a loopback address, because {source} goes along")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _folder(file: str | os.PathLike[str]) -> Path:
    if not (isinstance(file, os.PathLike) or _is_text(file)):
        raise wrong("file", file, "the path of a folder")
    folder = Path(file).absolute()
    if folder.exists() and not folder.is_dir():
        raise wrong("file", str(file), "the path of a folder, not of a file")
    return folder


def _check_number(setting: _Setting | None) -> None:
    try:
        if setting is not None and not _is_positive(float(setting.value)):
            raise ValueError
    except ValueError:
        raise wrong(*cast("_Setting", setting), "a number above 0") from None


def _is_positive(number: object) -> bool:
    return isinstance(number, int | float) and number > 0 and math.isfinite(number)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
