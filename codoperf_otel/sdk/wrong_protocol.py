"""What to set where an endpoint's port speaks another protocol than the exporter."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from codoperf_otel._telemetry.interrupts import raise_interrupt
from codoperf_otel.sdk.outputs import Otlp

_AT_THE_CONNECTION = ("UNAVAILABLE", "BadStatusLine", "Connection aborted", "RemoteDisconnected", "SSLError")
_SETTINGS = b"\0\0\0\4\0\0\0\0\0"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _SETTINGS
_TLS_ALERT = b"\x15\x03"
_SECONDS = 1.0


def advice(output: Otlp, reason: str) -> str:
    """What to set, where the port itself shows it; else nothing. The port is asked by the start of HTTP/2."""
    if not any(word in reason for word in _AT_THE_CONNECTION):
        return ""
    answer = _answer(output.url)
    is_grpc = answer[3:5] == _SETTINGS[3:5]
    is_http = answer.startswith((b"HTTP/1", b"<"))
    if answer.startswith(_TLS_ALERT):
        return "this port speaks TLS: the endpoint must begin with https://"
    if output.label.startswith("https:") and (is_grpc or is_http):
        return "this port does not speak TLS: the endpoint must begin with http://"
    if is_http and output.protocol == "grpc":
        return "this port speaks HTTP: set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"
    if is_grpc and output.protocol == "http/protobuf":
        return "this port speaks gRPC: set OTEL_EXPORTER_OTLP_PROTOCOL=grpc"
    return ""


def _answer(url: str) -> bytes:
    parts = urlsplit(url if "://" in url else f"//{url}")
    try:
        with socket.create_connection((parts.hostname, parts.port or 443), _SECONDS) as connection:
            connection.sendall(_PREFACE)
            return connection.recv(16)
    except (OSError, ValueError) as error:
        raise_interrupt(error)
        return b""
