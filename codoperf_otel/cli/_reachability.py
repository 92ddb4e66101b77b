"""What ``codoperf doctor`` checks of an endpoint, from its name to a span that is acknowledged."""

from __future__ import annotations

import email.utils
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import SplitResult, urlsplit, urlunsplit

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.util.re import parse_env_headers

from codoperf_otel.cli import _format
from codoperf_otel.cli._findings import Finding, failed, note, ok
from codoperf_otel.sdk import wrong_protocol
from codoperf_otel.sdk.endpoints import is_encrypted
from codoperf_otel.sdk.errors import Destination
from codoperf_otel.sdk.outputs import Otlp
from codoperf_otel.sdk.sendable import SENDABLE
from codoperf_otel.sdk.signals.traces import guarded_span_exporter
from codoperf_otel.sdk.standard_variables import Variables

SPAN = "codoperf doctor"
LARGEST_SKEW = 5.0
DEFAULT_PORTS = {"http": 80, "https": 443}
HEADERS = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
CERTIFICATES = ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY")
CHECK_FILES = f"check the files of OTEL_EXPORTER_OTLP_{', _'.join(CERTIFICATES)}"
START_A_COLLECTOR = "start a collector there, or set OTEL_EXPORTER_OTLP_ENDPOINT to where one listens"
CHECK_NAME = "check the host name of the endpoint"
UNKNOWN_CLOCK = "not compared: the server does not tell its own"
NO_COLLECTOR = "another service listens there: check port and path"
CERTIFICATE_ADVICE = {
    9: "it becomes valid later: is the clock of this machine right?",
    10: "it has to be renewed at the endpoint, or the clock of this machine is wrong",
    62: "name the endpoint by a host that its certificate is made for",
    64: "name the endpoint by a host that its certificate is made for",
}
"""By the code of X.509's verification."""
REASONS = {
    (
        "CERTIFICATE_VERIFY_FAILED",
    ): "REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE take precedence over OTEL_EXPORTER_OTLP_CERTIFICATE here",
    (
        "UNAUTHENTICATED",
        "PERMISSION_DENIED",
        "401",
        "403",
    ): "set OTEL_EXPORTER_OTLP_HEADERS to what it asks for",
    ("UNIMPLEMENTED", "404"): NO_COLLECTOR,
    (
        "UNAVAILABLE",
        "Connection",
        "timed out",
        "Timeout",
        "no answer",
    ): "check OTEL_EXPORTER_OTLP_PROTOCOL: gRPC is usual on port 4317, http/protobuf on 4318",
}


def endpoint(output: Otlp, seconds: float) -> Iterator[Finding]:
    """Whether a span arrives there, and if not, at which step it fails."""
    found = list(way(output, seconds))
    yield from found
    if any(finding.status == "failed" for finding in found):
        return
    yield _clock(output, seconds) if output.protocol == "http/protobuf" else ok("clock", UNKNOWN_CLOCK)
    sent = _span(output, seconds)
    is_http = sent.status == "ok" and output.protocol == "http/protobuf" and "@" not in _parts(output).netloc
    yield (_no_collector(output, seconds) if is_http else None) or sent


def way(output: Otlp, seconds: float) -> Iterator[Finding]:
    """Whether there is a connection to the host, encrypted if it is to be."""
    parts = _parts(output)
    host = parts.hostname or ""
    named = _name(host, seconds)
    yield from named
    if all(finding.status != "failed" for finding in named):
        yield from _connection(output, host, parts.port or DEFAULT_PORTS[parts.scheme or "https"], seconds)


def _parts(output: Otlp) -> SplitResult:
    return urlsplit(output.url if "://" in output.url else f"//{output.url}")


def _name(host: str, seconds: float) -> list[Finding]:
    """Looked up in a thread: the system's own time limit may be half a minute."""
    found: list[Finding] = []

    def look_up() -> None:
        try:
            address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0]
        except (OSError, UnicodeError) as error:
            text = getattr(error, "strerror", None) or "it cannot be the name of a host"
            found.append(failed("name", f"{host}: {text}", CHECK_NAME))
        else:
            found.append(ok("name", host if address == host else f"{host} is {address}"))

    looking = threading.Thread(target=look_up, daemon=True)
    looking.start()
    looking.join(seconds)
    return found or [failed("name", f"{host}: no answer within {seconds:g} s", CHECK_NAME)]


def _connection(output: Otlp, host: str, port: int, seconds: float) -> Iterator[Finding]:
    try:
        with socket.create_connection((host, port), seconds) as connection:
            yield ok("connection", f"{host}:{port}")
            if is_encrypted(output.signal, _parts(output), Variables(os.environ)):
                yield _handshake(connection, output, host)
    except OSError as error:
        yield failed("connection", f"{host}:{port}: {error.strerror or error}", START_A_COLLECTOR)


def _handshake(connection: socket.socket, output: Otlp, host: str) -> Finding:
    try:
        context = _encryption(output)
    except OSError as error:
        return failed("encryption", f"a certificate or its key cannot be read: {error}", CHECK_FILES)
    try:
        with context.wrap_socket(connection, server_hostname=host) as encrypted:
            return ok("encryption", encrypted.version() or "TLS")
    except ssl.SSLCertVerificationError as error:
        authority = "set OTEL_EXPORTER_OTLP_CERTIFICATE to the file of its certificate authority"
        advice = CERTIFICATE_ADVICE.get(error.verify_code, authority)
        return failed("encryption", error.verify_message, advice)
    except OSError as error:
        return failed("encryption", str(error), "does it speak TLS there? http:// is without")


def _encryption(output: Otlp) -> ssl.SSLContext:
    """By the variables that the exporters obey."""
    found = (Variables(os.environ).otlp(output.signal, what) for what in CERTIFICATES)
    authority, certificate, key = (setting and setting.value for setting in found)
    context = ssl.create_default_context(cafile=authority)
    if certificate:
        context.load_cert_chain(certificate, key, password="")
    if output.protocol == "grpc":
        context.set_alpn_protocols(["h2"])
    return context


def _http(output: Otlp, seconds: float) -> HTTPConnection:
    parts = _parts(output)
    if parts.scheme == "https":
        return HTTPSConnection(parts.hostname or "", parts.port, timeout=seconds, context=_encryption(output))
    return HTTPConnection(parts.hostname or "", parts.port, timeout=seconds)


def _clock(output: Otlp, seconds: float) -> Finding:
    """How far the server's clock is from ours, where it says what it shows."""
    connection = _http(output, seconds)
    try:
        connection.request("HEAD", "/")
        date = connection.getresponse().getheader("Date")
        skew = email.utils.parsedate_to_datetime(date or "").timestamp() - time.time()
    except (OSError, HTTPException, ValueError):
        return ok("clock", UNKNOWN_CLOCK)
    finally:
        connection.close()
    if abs(skew) > LARGEST_SKEW:
        text = f"the server's clock is {_format.duration(abs(skew))} {'ahead' if skew > 0 else 'behind'}"
        return note("clock", text, "set both by NTP: spans of two machines do not fit together otherwise")
    return ok("clock", "as the server's")


class _Remembered(Destination):
    """Keeps the first reason, without secrets, and logs nothing."""

    reason = ""

    def trouble(self, reason: str) -> None:
        """An attempt failed."""
        self.failing = True
        self.reason = self.reason or self.shown(reason)


def _span(output: Otlp, seconds: float) -> Finding:
    """Send one span, and wait for the answer."""
    destination = _Remembered(output.label, output.secrets)
    exporter = guarded_span_exporter(output, destination, SENDABLE)
    try:
        exporter.guard.open()
    except (ImportError, OSError, ValueError) as error:
        return failed("span", destination.shown(str(error)), "mend it")
    provider = TracerProvider(
        resource=Resource.create({"service.name": "codoperf-doctor"}), shutdown_on_exit=False
    )
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    sending = threading.Thread(
        target=lambda: provider.get_tracer("codoperf_otel").start_span(SPAN).end(), daemon=True
    )
    began = time.perf_counter()
    sending.start()
    sending.join(seconds)
    if sending.is_alive():
        destination.trouble(f"no answer within {seconds:g} s")
        exporter.guard.close()
        sending.join(1)
    took = time.perf_counter() - began
    exporter.guard.close()
    if destination.failing or destination.failures:
        advice = wrong_protocol.advice(output, destination.reason) or _advice(destination.reason)
        return failed("span", f"not taken: {destination.reason or 'refused'}", advice)
    return ok("span", f"{SPAN!r} was acknowledged in {_format.duration(took)}, over {output.protocol}")


def _no_collector(output: Otlp, seconds: float) -> Finding | None:
    """What shows that no collector answered: exporters take a redirection and a web page for success."""
    parts = _parts(output)
    given = next(filter(None, map(os.environ.get, HEADERS)), "")
    headers = {**parse_env_headers(given, liberal=True), "Content-Type": "application/x-protobuf"}
    connection = _http(output, seconds)
    try:
        connection.request("POST", urlunsplit(("", "", parts.path, parts.query, "")) or "/", b"", headers)
        answer = connection.getresponse()
        place = _without_secrets(answer.getheader("Location") or "")
        is_page = answer.read(64).lstrip().startswith(b"<")
    except (OSError, HTTPException, ValueError):
        return None
    finally:
        connection.close()
    if 300 <= answer.status < 400:
        text = f"redirected to {place}, where not every exporter follows"
        return failed("span", text, "set the endpoint to that address")
    return failed("span", "not taken: the answer is a web page", NO_COLLECTOR) if is_page else None


def _without_secrets(location: str) -> str:
    """An address as an endpoint is given: no user, no query, and not the signal's path."""
    parts = urlsplit(location)
    host = parts.netloc.rpartition("@")[2]
    return (
        urlunsplit((parts.scheme, host, parts.path.removesuffix("/v1/traces"), "", "")) or "another address"
    )


def _advice(reason: str) -> str:
    for words, advice in REASONS.items():
        if any(word in reason for word in words):
            return advice
    return "see what its own log says"
