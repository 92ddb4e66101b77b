"""OTLP endpoints of the tests' own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def serve_requests(handler: type[BaseHTTPRequestHandler]) -> tuple[int, Callable[[], None]]:
    """A loopback HTTP server in a thread: its port, and what stops it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return server.server_port, stop
