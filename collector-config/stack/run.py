"""Start the three services on loopback, and end what was started."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import processes
from folders import locked
from parts import StackError, locate
from services import LOOPBACK, STARTED, Ports, Service, services, variables

READY_SECONDS = 60.0
LOG_LINES = 15
ADDRESSES = "addresses.json"
# Loopback only: a proxy of the environment has no part in it.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def up(folder: Path, ports: Ports) -> None:
    """Start what is not running, wait until all answer, and print the addresses."""
    folder = folder.resolve()
    os.umask(0o077)
    with locked(folder):
        if _is_up(folder):
            print(f"already up, in {folder}")
        else:
            _start_all(folder, ports)
        _tell(folder)


def down(folder: Path) -> None:
    """End what `up` started in this folder; the data stay."""
    folder = folder.resolve()
    if not folder.is_dir():
        print(f"nothing is up in {folder}")
        return
    with locked(folder):
        ended = _stop_all(folder)
    print(f"ended {', '.join(ended)}" if ended else f"nothing is up in {folder}")


def _is_up(folder: Path) -> bool:
    """All three run, and the last `up` got as far as saying so."""
    return (folder / ADDRESSES).exists() and all(processes.alive(_record(folder, part)) for part in STARTED)


def _start_all(folder: Path, ports: Ports) -> None:
    planned = services(folder, ports)
    binaries = {service.part: locate(service.part) for service in planned}
    _stop_all(folder)  # what is left of a stack that lost a part
    _require_free(planned)
    try:
        for service in planned:
            process = _start(folder, ports, service, binaries[service.part])
            _wait_ready(service, process, folder)
    except BaseException:
        _stop_all(folder)
        raise
    (folder / ADDRESSES).write_text(json.dumps(ports.addresses(), indent=2) + "\n")


def _start(folder: Path, ports: Ports, service: Service, binary: Path) -> subprocess.Popen[bytes]:
    return processes.start(
        _record(folder, service.part),
        (str(binary), *service.arguments),
        _environment() | variables(folder, ports),
        _log(folder, service.part),
    )


def _environment() -> dict[str, str]:
    """The caller's variables without OpenTelemetry's: they are meant for the user's program."""
    return {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}


def _stop_all(folder: Path) -> list[str]:
    """End the services, senders first, so that what they hold still arrives."""
    (folder / ADDRESSES).unlink(missing_ok=True)
    return [part for part in reversed(STARTED) if processes.stop(_record(folder, part))]


def _require_free(planned: tuple[Service, ...]) -> None:
    for service in planned:
        for port in service.ports:
            if _taken(port):
                raise StackError(
                    f"port {port}, which {service.part} needs, is in use: end what listens on it"
                    " (a stack of another folder: `down --dir DIR`), or use `up --free-ports`"
                )


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return True
    return False


def _wait_ready(service: Service, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not (_answers(service.ready) and all(map(_taken, service.ports))):
        if process.poll() is not None:
            raise _failure(service, folder, f"ended with exit code {process.returncode}")
        if time.monotonic() > deadline:
            raise _failure(service, folder, f"did not become ready in {READY_SECONDS:.0f} s")
        time.sleep(processes.POLL_SECONDS)


def _answers(url: str) -> bool:
    try:
        with _OPENER.open(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _failure(service: Service, folder: Path, what: str) -> StackError:
    log = _log(folder, service.part)
    last = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
    return StackError(f"{service.part} {what}; the end of {log}:\n" + "\n".join(last))


def _tell(folder: Path) -> None:
    at = json.loads((folder / ADDRESSES).read_text())
    print(f"OTLP        {at['otlp_http']} (HTTP), {at['otlp_grpc']} (gRPC)")
    print(f"Jaeger      {at['jaeger']}/api/services")
    print(f"Prometheus  {at['prometheus']}/api/v1/labels")
    print("            These are APIs: the pages come with the official images and downloads.")
    print(f"data, logs  {folder}")
    print(f"export OTEL_EXPORTER_OTLP_ENDPOINT={at['otlp_http']}{_protocol(at['otlp_http'])}")


def _protocol(endpoint: str) -> str:
    """What tells a program to use HTTP, where the port does not."""
    return "" if endpoint.endswith(":4318") else " OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"


def _record(folder: Path, part: str) -> Path:
    return folder / f"{part}.pid"


def _log(folder: Path, part: str) -> Path:
    return folder / f"{part}.log"
