"""Real servers and workers: at SIGTERM, and where workers are recycled, no span and no count is lost."""

from __future__ import annotations

import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from scaling import soak_only
from telemetry_files import calls_counted, spans_named

pytestmark = pytest.mark.once

PROGRAMS = Path(__file__).parent / "programs"
REQUESTS = 200
CLIENTS = 4
TERMINATIONS = 60

UVICORN = ["-m", "uvicorn", "served:asgi", "--log-level", "warning"]
GUNICORN = ["-m", "gunicorn", "--log-level", "warning", "--workers", "2"]
RECYCLING = ["--max-requests", "60"]
UVICORN_WORKER = ["served:asgi", "-k", "uvicorn_worker.UvicornWorker"]
SERVERS = {
    "uvicorn": [*UVICORN, "--fd"],
    "uvicorn, 2 workers": [*UVICORN, "--workers", "2", "--fd"],
    "gunicorn, preloaded, recycling": [*GUNICORN, "served:wsgi", "--preload", *RECYCLING],
    "gunicorn, threads, recycling": [*GUNICORN, "served:wsgi", "-k", "gthread", "--threads", "4", *RECYCLING],
    "gunicorn, asgi, recycling": [*GUNICORN, "served:asgi", "-k", "asgi", *RECYCLING],
    "gunicorn, uvicorn": [*GUNICORN, *UVICORN_WORKER],
    "gunicorn, uvicorn, preloaded, recycling": [*GUNICORN, *UVICORN_WORKER, "--preload", *RECYCLING],
    "hypercorn": ["-m", "hypercorn", "served:asgi", "--log-level", "warning", "--workers", "2"],
}
CELERY = {
    "recycling": ["--concurrency", "1", "--max-tasks-per-child", "8"],
    "threads": ["--pool", "threads"],
    "solo": ["--pool", "solo"],
}
TASKS = 20


def start(command, folder, **options):
    """Start a program of `tests/programs` whose telemetry goes to the folder."""
    return subprocess.Popen(
        [sys.executable, *command], cwd=PROGRAMS, env={**os.environ, "TELEMETRY": str(folder)}, **options
    )


class Server:
    """A server that runs. Its socket listens before it does, so nobody has to wait for it."""

    def __init__(self, command, folder):
        listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = listening.getsockname()[1]
        descriptor = str(listening.fileno())
        bound = [descriptor] if command[-1] == "--fd" else ["--bind", f"fd://{descriptor}"]
        self.process = start([*command, *bound], folder, pass_fds=[listening.fileno()])
        listening.close()

    def ask(self, requests):
        """Let so many requests be answered, one after the other on one connection, until the server ends."""
        answered = 0
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while answered < requests and self.process.poll() is None:
            try:
                connection.request("GET", "/")
                answered += connection.getresponse().read() != b""
            except (OSError, http.client.HTTPException):  # a worker that is recycled closes its connections
                connection.close()
        connection.close()
        return answered

    def end(self):
        """Send SIGTERM, and wait for the end."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@pytest.mark.parametrize("name", SERVERS)
def test_sigterm_after_requests(name, tmp_path):
    """Each request is a span and is counted when the server has ended."""
    server = Server(SERVERS[name], tmp_path)
    with ThreadPoolExecutor(CLIENTS) as pool:
        assert sum(pool.map(server.ask, [REQUESTS // CLIENTS] * CLIENTS)) == REQUESTS
    assert server.end() == (-signal.SIGTERM if name == "uvicorn" else 0)
    assert_nothing_is_lost(tmp_path, REQUESTS)


@soak_only
def test_many_requests_to_workers_that_are_recycled(tmp_path):
    """Four workers of gunicorn answer 10,000 requests each while they are recycled: none is lost or hangs."""
    command = [*GUNICORN[:-1], "4", "served:wsgi", "--max-requests", "500", "--max-requests-jitter", "50"]
    server = Server(command, tmp_path)
    with ThreadPoolExecutor(CLIENTS) as pool:
        assert list(pool.map(server.ask, [10_000] * CLIENTS)) == [10_000] * CLIENTS
    assert server.end() == 0
    assert_nothing_is_lost(tmp_path, 10_000 * CLIENTS)


def assert_nothing_is_lost(folder, number):
    """Each call that has ended is a span and is counted; there were so many at least."""
    ended = len((folder / "done").read_bytes())
    assert ended >= number
    assert spans_named(folder, "request") >= ended
    assert calls_counted(folder) >= ended


@pytest.mark.parametrize("name", ["uvicorn", "gunicorn, uvicorn, preloaded, recycling"])
def test_sigterm_among_requests(name, scale, tmp_path):
    """Also where the server is busy when the signal comes."""
    chance = random.Random(7)
    for number in range(scale(TERMINATIONS)):
        folder = tmp_path / str(number)
        folder.mkdir()
        server = Server(SERVERS[name], folder)
        assert server.ask(1) == 1
        clients = [threading.Thread(target=server.ask, args=(sys.maxsize,)) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        time.sleep(chance.random() * 0.3)
        server.end()
        for client in clients:
            client.join()
        assert_nothing_is_lost(folder, 1)


WITHOUT_THREADS = """
import asyncio, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import codoperf_otel as co

co.configure(file=sys.argv[1])  # before uvicorn is loaded
import uvicorn

@co.monitor_performance("request")
def work():
    pass

async def main():
    threads = ThreadPoolExecutor()
    threads.shutdown()
    asyncio.get_running_loop().set_default_executor(threads)
    server = uvicorn.Server(uvicorn.Config(None, port=0, lifespan="off", log_level="error"))
    server.should_exit = True
    work()
    await server.serve()
    print(Path(sys.argv[1], "traces.jsonl").read_text().count('"name":"request"'))

asyncio.run(main())
"""


def test_a_loop_without_threads(tmp_path):
    """The end of uvicorn flushes in the loop's own thread where there is no other."""
    program = [sys.executable, "-W", "error", "-c", WITHOUT_THREADS, tmp_path]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("1\n", "")


@pytest.mark.parametrize("pool", CELERY)
def test_celery(pool, tmp_path):
    """Each task is a span and is counted when the worker has ended, also where its processes are recycled."""
    (tmp_path / "queue").mkdir()
    (tmp_path / "control").mkdir()
    assert start(["queued.py", str(TASKS)], tmp_path).wait(60) == 0
    alone = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    command = ["-m", "celery", "-A", "queued", "worker", "--loglevel", "ERROR", *alone, *CELERY[pool]]
    worker = start(command, tmp_path, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len((tmp_path / "done").read_bytes()) < TASKS and time.monotonic() < deadline:
        time.sleep(0.05)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    assert spans_named(tmp_path, "work") == TASKS
    assert calls_counted(tmp_path) == TASKS
