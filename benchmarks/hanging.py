"""What an endpoint that accepts and never answers costs a program: time per call, and memory."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from pairs import ratio, with_bytecode

ROUNDS = 5
CALLS = 20_000

_PROGRAM = """
import sys, time
import codoperf_otel as co

@co.monitor_performance
def call():
    pass

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

co.configure(endpoint=sys.argv[1], shutdown_timeout=0.1)
for _ in range(1000):
    call()
before, began = resident(), time.thread_time()
calls = int(sys.argv[2])
for _ in range(calls):
    call()
print((time.thread_time() - began) / calls, resident() - before)
"""
_MIB = 1 << 20


class _Answering(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _answering() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answering)
    Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@contextmanager
def _hanging() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        yield listening.getsockname()[1]


def _run(protocol: str, port: int, grown: list[int]) -> float:
    command = [sys.executable, "-c", _PROGRAM, f"http://127.0.0.1:{port}", str(CALLS)]
    variables = {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
    done = subprocess.run(
        command, env=with_bytecode() | variables, check=True, capture_output=True, text=True
    )
    seconds, memory = done.stdout.split()
    grown.append(int(memory))
    return float(seconds)


def _price(protocol: str) -> Iterator[str]:
    grown: list[int] = []
    with _answering() as answering, _hanging() as hanging:
        hung = partial(_run, protocol, hanging, grown)
        usual = partial(_run, "http/protobuf", answering, [])
        yield f"an endpoint that hangs, {protocol}, a call: {ratio(hung, usual, ROUNDS).in_us()}"
    yield f"the same, memory after {CALLS:,} calls: {max(grown) / _MIB:.1f} MiB more at most"


PARTS = {"http": partial(_price, "http/protobuf"), "grpc": partial(_price, "grpc")}
