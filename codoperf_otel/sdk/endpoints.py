"""Where OTLP goes to: the address, the protocol that it speaks, and what may be sent there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import cast
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from codoperf_otel._environment_variables import (
    ALLOW_PLAINTEXT_CREDENTIALS,
    is_loopback,
    setting_error,
    true_or_false,
)
from codoperf_otel._telemetry.paths import is_file, is_folder
from codoperf_otel.sdk.outputs import Otlp, Protocol, Signal
from codoperf_otel.sdk.standard_variables import Setting, Variables, otlp_names

PROTOCOLS = ("grpc", "http/protobuf")
COMPRESSIONS = {"grpc": ("none", "gzip"), "http/protobuf": ("none", "gzip", "deflate")}
PORT = "an http:// or https:// URL whose port is a number up to 65535"
URL = "an http:// or https:// URL with a host, such as http://localhost:4318"

_SIGNAL_PATH = re.compile(r"/v1/(traces|metrics|logs)/?$")
_CREDENTIAL = re.compile("authorization|cookie|key|token|secret|password", re.IGNORECASE)
_HEADER = re.compile(r"[\w!#$%&'*+.^`|~-]+\s*=[\x20\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")
_NOT_SENT = re.compile(r"[\x00-\x20\x7f#]")  # left out on the way: the secrets could not be found again
_HIDDEN = "***"


def otlp(signal: Signal, endpoint: str | None, variables: Variables) -> Otlp:
    """The OTLP output of a signal: `endpoint`, else what the variables say, else the local Collector.

    Raises:
        ValueError: one of them is wrong; the message names it, its value and what is allowed.
    """
    setting = variables.otlp(signal, "ENDPOINT")
    if endpoint is not None:
        setting = Setting("endpoint", endpoint)
    parts = _split(setting) if setting else None
    protocol = _protocol(signal, parts, variables)
    if setting is None or parts is None:
        setting = Setting("the default endpoint", f"http://localhost:{4317 if protocol == 'grpc' else 4318}")
        parts = urlsplit(setting.value)
    _check_form(setting, parts, protocol)
    headers = variables.otlp(signal, "HEADERS")
    carried = [*_pairs(headers), *parse_qsl(parts.query)]
    source = _source(parts, headers, carried)
    if is_encrypted(signal, parts, variables):
        _check_certificates(signal, protocol, variables)
    elif source:
        _check_plain_text(setting, parts, source, variables)
    return Otlp(
        signal,
        protocol,
        _url(signal, protocol, setting),
        variables.choice(otlp_names(signal, "COMPRESSION"), COMPRESSIONS[protocol]),
        f"{parts.scheme or 'grpc'}://{parts.netloc.rpartition('@')[2]}",
        setting.name == "endpoint",
        tuple(_secrets(parts, carried)),
    )


def _protocol(signal: Signal, endpoint: SplitResult | None, variables: Variables) -> Protocol:
    """The variable's, else HTTP for its port and for an address with a path, of which gRPC has none."""
    is_http = endpoint is not None and (endpoint.port == 4318 or endpoint.path.strip("/"))
    default = "http/protobuf" if is_http else "grpc"
    return cast("Protocol", variables.choice(otlp_names(signal, "PROTOCOL"), PROTOCOLS, default))


def _url(signal: Signal, protocol: Protocol, setting: Setting) -> str:
    """The address as the exporters take it: over HTTP, all but a signal's own variable are base URLs."""
    if protocol == "grpc" or _is_of_signal(signal, setting):
        return setting.value
    base, mark, query = setting.value.partition("?")
    if found := _SIGNAL_PATH.search(base):
        raise setting_error(*setting, f"the address without {found[0]!r}, which is added for each signal")
    return f"{base.rstrip('/')}/v1/{signal}{mark}{query}"


def _is_of_signal(signal: Signal, setting: Setting) -> bool:
    return setting.name == otlp_names(signal, "ENDPOINT")[0]


def _split(setting: Setting) -> SplitResult:
    if _NOT_SENT.search(str(setting.value)):
        raise setting_error(*setting, URL)
    try:
        parts = urlsplit(setting.value if "://" in setting.value else f"//{setting.value}")
    except (ValueError, TypeError):
        raise setting_error(*setting, URL) from None
    try:
        parts.port  # noqa: B018  it is checked when it is read
    except ValueError:
        raise setting_error(*setting, PORT) from None
    return parts


def _check_form(setting: Setting, parts: SplitResult, protocol: Protocol) -> None:
    """A variable may also hold gRPC's own ``host:port``."""
    schemes = ["http", "https"]
    if protocol == "grpc" and setting.name != "endpoint":
        schemes.append("")
    if parts.scheme not in schemes or not parts.hostname:
        raise setting_error(*setting, URL)
    if protocol == "grpc" and "@" in parts.netloc:
        raise setting_error(
            *setting, "without user and password over gRPC; OTEL_EXPORTER_OTLP_HEADERS takes them"
        )


def _pairs(headers: Setting | None) -> Iterator[tuple[str, str]]:
    """The headers that the variable names, with their values."""
    if headers is None:
        return
    for header in filter(None, map(str.strip, headers.value.split(","))):
        if not _HEADER.fullmatch(header):
            raise setting_error(headers.name, _HIDDEN, "name=value, or several with commas between")
        name, _, value = header.partition("=")
        yield unquote(name).strip(), unquote(value).strip()


def _source(parts: SplitResult, headers: Setting | None, carried: list[tuple[str, str]]) -> str | None:
    """What carries a credential, if anything does."""
    if "@" in parts.netloc:
        return "a password"
    name = next((name for name, _ in carried if _CREDENTIAL.search(name)), None)
    return name and f"{name} of {headers.name if headers else 'its query'}"


def is_encrypted(signal: Signal, parts: SplitResult, variables: Variables) -> bool:
    """Whether what goes to an address does so over TLS."""
    insecure = variables.otlp(signal, "INSECURE")
    without_scheme = not parts.scheme and (insecure is None or insecure.value.lower() != "true")
    return parts.scheme == "https" or without_scheme


def _check_certificates(signal: Signal, protocol: Protocol, variables: Variables) -> None:
    """Refuse what cannot be read. Over HTTP the authorities may be a folder."""
    for what in ("CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE"):
        setting = variables.otlp(signal, what)
        may_be_folder = what == "CERTIFICATE" and protocol == "http/protobuf"
        if setting is not None and not _is_readable(Path(setting.value), may_be_folder=may_be_folder):
            raise setting_error(*setting, "the path of a file that can be read")


def _is_readable(path: Path, *, may_be_folder: bool) -> bool:
    return (is_file(path) or (may_be_folder and is_folder(path))) and os.access(path, os.R_OK)


def _check_plain_text(setting: Setting, parts: SplitResult, source: str, variables: Variables) -> None:
    """Refuse credentials that anybody on the way could read, unless that is allowed by name."""
    allowed = variables.get(ALLOW_PLAINTEXT_CREDENTIALS)
    if is_loopback(parts.hostname or "") or (allowed is not None and true_or_false(*allowed)):
        return
    raise setting_error(
        *setting,
        f"an https:// URL or a loopback address, because {source} goes along"
        f" ({ALLOW_PLAINTEXT_CREDENTIALS}=true allows it)",
    )


def _secrets(parts: SplitResult, carried: list[tuple[str, str]]) -> Iterator[str]:
    """What no message may show: the password, the query, and what headers with a credential say."""
    user = parts.geturl().partition("//")[2].rpartition("@")[0]  # in a wrong place, too
    found = (user, parts.password, user.rpartition(":")[2], parts.query)
    yield from filter(None, found)
    yield from (value for name, value in carried if value and _CREDENTIAL.search(name))
