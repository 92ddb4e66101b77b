"""Sends OTLP requests as they are on disk. OpenTelemetry's exporters take objects only, not their bytes."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from opentelemetry.util.re import parse_env_headers

from codoperf_otel._telemetry.interrupts import raise_interrupt
from codoperf_otel.sdk import grpc_forks
from codoperf_otel.sdk.outputs import Otlp, Signal
from codoperf_otel.sdk.standard_variables import Variables

_SERVICES = {"traces": "trace", "metrics": "metrics", "logs": "logs"}
_REJECTED = {"traces": "rejected_spans", "metrics": "rejected_data_points", "logs": "rejected_log_records"}
_COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
}
_REFUSED_FOR_GOOD = (400, 413)
_REFUSED_FOR_GOOD_BY_GRPC = "INVALID_ARGUMENT"
_USER_AGENT = "codoperf-otel"


class Outcome(Enum):
    """What became of a request."""

    DELIVERED = "delivered"
    LATER = "later"
    REFUSED = "refused"  # it will never be taken


class Answer(NamedTuple):
    """The outcome, why it failed, how many items were not taken all the same, and when to ask again."""

    outcome: Outcome
    reason: str = ""
    rejected: int = 0
    seconds: float | None = None

    @classmethod
    def of_error(cls, error: Exception) -> Answer:
        """The request failed on the way."""
        return cls(Outcome.LATER, f"{type(error).__name__}: {error}")


def sender(output: Otlp) -> Callable[[bytes], Answer]:
    """What sends a request to an output's endpoint, by the variables that OpenTelemetry's exporters obey.

    Raises:
        ImportError: a package is missing.
    """
    return HttpSender(output) if output.protocol == "http/protobuf" else GrpcSender(output)


class _Options:
    """What the variables say of a signal's connection."""

    def __init__(self, output: Otlp) -> None:
        self._signal: Signal = output.signal
        self._variables = Variables(os.environ)
        self.timeout = float(self._get("TIMEOUT") or 10)
        self.headers = parse_env_headers(self._get("HEADERS") or "", liberal=True)
        self.certificate = self._get("CERTIFICATE")
        self.client_key = self._get("CLIENT_KEY")
        self.client_certificate = self._get("CLIENT_CERTIFICATE")
        self.insecure = (self._get("INSECURE") or "").lower() == "true"

    def _get(self, what: str) -> str | None:
        setting = self._variables.otlp(self._signal, what)
        return setting.value if setting else None


class HttpSender:
    """Sends by HTTP."""

    def __init__(self, output: Otlp) -> None:
        requests: Any = import_module("requests")
        self._failure: type[Exception] = requests.RequestException
        self._session = requests.Session()
        self._url = output.url
        options = _Options(output)
        self._compress = _COMPRESS[output.compression]
        self._session.headers.update({"User-Agent": _USER_AGENT, **options.headers})
        self._session.headers["Content-Type"] = "application/x-protobuf"
        if output.compression != "none":
            self._session.headers["Content-Encoding"] = output.compression
        self._options = {
            "timeout": options.timeout,
            "verify": options.certificate or True,
            "cert": _pair(options),
            "allow_redirects": False,
        }
        self._parse = _partial_success(output)

    def __call__(self, payload: bytes) -> Answer:
        """Send one request."""
        try:
            response = self._session.post(self._url, self._compress(payload), **self._options)
        except self._failure as error:
            raise_interrupt(error)
            return Answer.of_error(error)
        if response.status_code in _REFUSED_FOR_GOOD:
            return Answer(Outcome.REFUSED, f"{response.status_code} {response.reason}")
        if not response.ok or response.is_redirect or response.content.lstrip().startswith(b"<"):
            seconds = response.headers.get("Retry-After", "")
            reason = f"{response.status_code} {response.reason}"
            return Answer(Outcome.LATER, reason, seconds=float(seconds) if seconds.isdecimal() else None)
        return Answer(Outcome.DELIVERED, rejected=self._parse(response.content))


def _pair(options: _Options) -> tuple[str, str] | str | None:
    if options.client_certificate and options.client_key:
        return options.client_certificate, options.client_key
    return options.client_certificate


class GrpcSender:
    """Sends by gRPC."""

    def __init__(self, output: Otlp) -> None:
        self._output = output
        self._turn = grpc_forks.Turn(self._cut_short, lambda: False)
        self._connect()

    def _cut_short(self) -> None:
        """End the call that it is in; another one is made over a new connection."""
        self._channel.close()
        self._connect()

    def _connect(self) -> None:
        output = self._output
        grpc: Any = import_module("grpc")
        self._failure: type[Exception] = grpc.RpcError
        options = _Options(output)
        self._timeout = options.timeout
        self._metadata = tuple((name.lower(), value) for name, value in options.headers.items())
        parts = urlsplit(output.url)
        is_plain = parts.scheme == "http" or (parts.scheme != "https" and options.insecure)
        compression = (
            grpc.Compression.Gzip if output.compression == "gzip" else grpc.Compression.NoCompression
        )
        common: dict[str, Any] = {
            "compression": compression,
            "options": [("grpc.primary_user_agent", _USER_AGENT)],
        }
        target = parts.netloc or output.url
        if is_plain:
            self._channel = grpc.insecure_channel(target, **common)
        else:
            files = (options.certificate, options.client_key, options.client_certificate)
            self._channel = grpc.secure_channel(
                target, grpc.ssl_channel_credentials(*map(_content, files)), **common
            )
        service = _SERVICES[output.signal]
        path = f"/opentelemetry.proto.collector.{service}.v1.{service.capitalize()}Service/Export"
        self._export = self._channel.unary_unary(path)
        self._parse = _partial_success(output)

    def __call__(self, payload: bytes) -> Answer:
        """Send one request."""
        try:
            with self._turn:
                answer = self._export(payload, timeout=self._timeout, metadata=self._metadata)
        except self._failure as error:
            raise_interrupt(error)
            code: str = error.code().name  # type: ignore[attr-defined]
            reason = f"{code}: {error.details()}"  # type: ignore[attr-defined]
            return Answer(Outcome.REFUSED if code == _REFUSED_FOR_GOOD_BY_GRPC else Outcome.LATER, reason)
        return Answer(Outcome.DELIVERED, rejected=self._parse(answer))


def _content(path: str | None) -> bytes | None:
    return Path(path).read_bytes() if path else None


def _partial_success(output: Otlp) -> Callable[[bytes], int]:
    """What reads from an answer how many items were not taken."""
    service = _SERVICES[output.signal]
    module = import_module(f"opentelemetry.proto.collector.{service}.v1.{service}_service_pb2")
    response: Any = getattr(module, f"Export{service.capitalize()}ServiceResponse")
    field = _REJECTED[output.signal]

    def rejected(content: bytes) -> int:
        try:
            return int(getattr(response.FromString(content).partial_success, field))
        except Exception as error:  # an answer may be anything
            raise_interrupt(error)
            return 0

    return rejected
