"""Ends that run no exit handler: what has ended is sent, what is open is interrupted, the status is kept."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace

import pytest
from endpoints import serve_requests
from telemetry_files import calls_counted, spans, spans_named

from codoperf_otel.sdk.errors import Destination
from codoperf_otel.sdk.handle import Handle
from codoperf_otel.sdk.outputs import Otlp

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

PROGRAMS = Path(__file__).parent / "programs"
TERMINATIONS = 100
POOLS = 200

START = """
import contextlib, os, signal, sys, threading, time
import codoperf_otel as co

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests by nohup ignores it

@co.monitor_performance("work")
def work():
    pass

@co.monitor_performance("waiting")
def wait():
    work()
    print("waits", flush=True)
    for _ in range(600):
        time.sleep(0.1)
"""
CONFIGURE = "co.configure(file=sys.argv[1])\n"


class Program:
    """A program that runs until its first line is read."""

    def __init__(self, program, *args, before=(), first="", **variables):
        environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
        self.process = subprocess.Popen(
            [*before, sys.executable, "-W", "error", "-c", first + START + program, *map(str, args)],
            env={**environ, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.line = self.process.stdout.readline()

    def end(self, *numbers):
        """Send signals, and wait for the end: the status, and what was written to stderr."""
        for number in numbers:
            self.process.send_signal(number)
        self.printed, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors


def outcomes(folder):
    """The outcome of each span by its name."""
    return {
        span["name"]: next(
            (
                item["value"]["stringValue"]
                for item in span["attributes"]
                if item["key"] == "codoperf.outcome"
            ),
            None,
        )
        for span in spans(folder)
    }


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_sends_what_is_left(number, tmp_path):
    """What has ended is sent, what is open is interrupted, and the signal ends the program as ever."""
    program = Program(CONFIGURE + "wait()", tmp_path)
    assert program.end(number) == (-number, "")
    assert outcomes(tmp_path) == {"work": None, "waiting": "interrupted"}
    assert calls_counted(tmp_path) == 1


def test_signals_can_be_left_out(tmp_path):
    """With ``signals=False`` the program ends at once, and nothing is replaced."""
    program = Program(
        "before = os._exit, list(sys.meta_path)\n"
        "co.configure(file=sys.argv[1], signals=False, subprocess=False, threads=False)\n"
        "assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL\n"
        "assert before == (os._exit, sys.meta_path)\nwait()",
        tmp_path,
    )
    assert program.end(signal.SIGTERM) == (-signal.SIGTERM, "")
    assert (tmp_path / "traces.jsonl").read_text() == ""


def test_handlers_of_the_application_stay(tmp_path):
    """A handler that is set, before or afterwards, is the one that runs; an ignored signal stays ignored."""
    program = Program(
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + CONFIGURE + "wait()",
        tmp_path,
    )
    assert program.end(signal.SIGHUP, signal.SIGTERM) == (7, "")
    assert outcomes(tmp_path) == {"work": None, "waiting": None}


def test_a_handler_that_calls_the_one_before_it_decides(tmp_path):
    """Where nothing was set it would call nothing, so it does not end by this package's handler."""
    program = Program(
        CONFIGURE + "before = signal.getsignal(signal.SIGTERM)\n"
        "signal.signal(signal.SIGTERM, lambda *given: (before(*given), sys.exit(7)))\nwait()",
        tmp_path,
    )
    assert program.end(signal.SIGTERM) == (7, "")
    assert outcomes(tmp_path) == {"work": None, "waiting": None}


def test_shutdown_puts_the_default_action_back(tmp_path):
    """After ``shutdown()`` nothing of this package is left in the place of anything."""
    program = Program(
        "before = os._exit, list(sys.meta_path)\n"
        "with co.configure(file=sys.argv[1]):\n    print(signal.getsignal(signal.SIGTERM).__module__)\n"
        "assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL\n"
        "assert before == (os._exit, sys.meta_path)",
        tmp_path,
    )
    assert program.line == "codoperf_otel.sdk.ends.signals\n"
    assert program.end() == (0, "")


def test_the_next_set_up_handles_signals_again(tmp_path):
    """Also where another thread has shut the first one down, which cannot remove the handler."""
    program = Program(
        "handle = co.configure(file=sys.argv[1])\n"
        "thread = threading.Thread(target=handle.shutdown)\nthread.start()\nthread.join()\n"
        + CONFIGURE
        + "wait()",
        tmp_path,
    )
    assert program.end(signal.SIGTERM) == (-signal.SIGTERM, "")
    assert outcomes(tmp_path) == {"work": None, "waiting": "interrupted"}


def test_another_thread_cannot_handle_signals(tmp_path):
    """One line says so where `configure` is called in another thread than the main one."""
    program = Program(
        "thread = threading.Thread(target=co.configure, kwargs={'file': sys.argv[1]})\n"
        "thread.start()\nthread.join()\nwait()",
        tmp_path,
    )
    status, errors = program.end(signal.SIGTERM)
    assert status == -signal.SIGTERM
    assert errors == (
        "configure() was not called in the main thread: at SIGTERM and SIGHUP the last telemetry is lost\n"
    )


class Hanging:
    """An endpoint that answers nobody before it is released."""

    def __init__(self):
        self.asked = threading.Event()
        self.released = threading.Event()
        hanging = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                hanging.asked.set()
                hanging.released.wait()
                with suppress(OSError):  # nobody waits any more
                    self.send_response(200)
                    self.end_headers()

            def log_message(self, *_):
                pass

        self.port, self._stop = serve_requests(Handler)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.released.set()
        self._stop()


def seconds_until_end(program, *numbers):
    began = time.monotonic()
    status, errors = program.end(*numbers)
    return status, errors, time.monotonic() - began


HANGING = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}


def test_an_endpoint_that_hangs_holds_the_end_up_for_a_bounded_time(tmp_path):
    """The program is there for less than two seconds more, says so, and its files are written."""
    with Hanging() as endpoint:
        url = f"http://127.0.0.1:{endpoint.port}"
        program = Program(
            "co.configure(endpoint=sys.argv[2], file=sys.argv[1]); wait()", tmp_path, url, **HANGING
        )
        status, errors, seconds = seconds_until_end(program, signal.SIGTERM)
    assert status == -signal.SIGTERM
    assert seconds < 4  # and not 5, the `shutdown_timeout`
    assert errors.startswith(f"Telemetry does not reach {url}: no answer within the 1.5 s")
    assert outcomes(tmp_path) == {"work": None, "waiting": "interrupted"}


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(second, tmp_path):
    """While the first one waits for the endpoint, another one is not made to wait."""
    assert any(seconds_after(second) < 1 for _ in range(3))  # the machine may be busy


def seconds_after(second):
    """How long a program takes to end at a second signal, while it flushes."""
    with Hanging() as endpoint:
        url = f"http://127.0.0.1:{endpoint.port}"
        program = Program("co.configure(endpoint=sys.argv[1]); wait()", url, **HANGING)
        program.process.send_signal(signal.SIGTERM)
        assert endpoint.asked.wait(30)
        status, _, seconds = seconds_until_end(program, second)
    assert status == -signal.SIGTERM
    return seconds


def test_the_first_process_of_a_container_ends(tmp_path):
    """Where the system lets no signal end the process, it exits with the status that a shell would tell."""
    container = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
    program = Program(
        CONFIGURE + "assert os.getpid() == 1\nos.kill(1, signal.SIGHUP) if os.fork() == 0 else wait()",
        tmp_path,
        before=container,
    )
    status, errors = program.end()
    assert (status, errors) == (128 + signal.SIGHUP, "")
    assert outcomes(tmp_path)["waiting"] == "interrupted"


def test_an_immediate_exit_sends_what_is_left(tmp_path):
    """``os._exit`` is such an end too, in any thread, and its status is kept."""
    program = Program(
        CONFIGURE + "def leave():\n"
        "    while not co.get_performance_stats('work'): time.sleep(0.01)\n    os._exit(3)\n"
        "threading.Thread(target=leave).start()\nwait()",
        tmp_path,
    )
    assert program.end() == (3, "")
    assert outcomes(tmp_path)["waiting"] == "interrupted"


def test_an_immediate_exit_while_the_interpreter_ends(tmp_path):
    """The exit handler of a program that leaves by ``os._exit`` takes nothing away."""
    program = Program(
        CONFIGURE + "import atexit\natexit.register(os._exit, 3)\nwork(); print(flush=True)", tmp_path
    )
    assert program.end() == (3, "")
    assert outcomes(tmp_path) == {"work": None}
    assert calls_counted(tmp_path) == 1


def test_daemon_threads_are_interrupted(tmp_path):
    """A call that a daemon thread is in at the end of the program has its span."""
    program = Program(
        CONFIGURE + "threading.Thread(target=wait, daemon=True).start()\n"
        "while not co.get_performance_stats('work'): time.sleep(0.01)",
        tmp_path,
    )
    assert program.end() == (0, "")
    assert outcomes(tmp_path) == {"work": None, "waiting": "interrupted"}


def test_a_signal_during_the_last_flush_waits_for_it():
    """SIGTERM at the normal end of a program does not take away what is being sent."""
    with Hanging() as endpoint:
        url = f"http://127.0.0.1:{endpoint.port}"
        program = Program("co.configure(endpoint=sys.argv[1]); work(); print(flush=True)", url, **HANGING)
        assert endpoint.asked.wait(30)
        threading.Timer(0.3, endpoint.released.set).start()
        status, errors = program.end(signal.SIGTERM)
        assert endpoint.released.is_set()
    assert status in (0, -signal.SIGTERM)
    assert errors == ""


@pytest.mark.parametrize(("output", "seconds"), [(None, 60), (Otlp, 1.5)])
def test_files_have_more_time_than_endpoints(output, seconds):
    """At the end of a server: a file takes long on a busy machine only, an endpoint may never answer."""
    handle = Handle(60, guards=[SimpleNamespace(destination=Destination("x", output=output))])
    assert handle.longest_flush(1.5) == seconds


@pytest.mark.parametrize("how", ["calls", "flushes", "threads"])
def test_sigterm_under_load(how, scale, tmp_path):
    """Whatever the program is doing, no call that has ended lacks its span or is not counted."""
    chance = random.Random(7)
    for number in range(scale(TERMINATIONS)):
        folder = tmp_path / str(number)
        folder.mkdir()
        process = subprocess.Popen(
            [sys.executable, PROGRAMS / "ended.py", how, folder],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        process.stdout.readline()
        time.sleep(chance.random() * 0.2)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (-signal.SIGTERM, b"")
        assert time.monotonic() - began < 2
        ended = len((folder / "done").read_bytes())
        assert spans_named(folder, "work") >= ended
        assert calls_counted(folder) >= ended


@pytest.mark.parametrize(
    ("pool", "method"),
    [
        *((pool, "fork") for pool in ("pool", "executor", "terminated", "exit")),
        *((pool, "forkserver") for pool in ("pool", "terminated")),
        ("pool", "spawn"),
    ],
)
def test_processes_of_a_pool(pool, method, tmp_path):
    """The calls of workers are all there, though their parent kills them or they leave by ``os._exit``."""
    program = [sys.executable, "-W", "error", PROGRAMS / "pooled.py", pool, method, tmp_path]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert spans_named(tmp_path, "work") == 20
    assert calls_counted(tmp_path) == 20


def test_pools_end_at_any_moment(scale, tmp_path):
    """No worker misses the signal, whatever it is doing, and every span that ended is there."""
    program = [sys.executable, PROGRAMS / "pools.py", tmp_path, str(scale(POOLS)), "7"]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60 + 2 * scale(POOLS))
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.split()) == scale(POOLS)
    assert max(map(float, done.stdout.split())) < 10
    assert spans_named(tmp_path, "work") >= len((tmp_path / "done").read_bytes())


def test_a_child_is_ended_before_it_has_begun(tmp_path):
    """A signal that a child has before Python has begun anew in it is not lost."""
    program = Program(
        CONFIGURE
        + """
def ended(child):
    os.kill(child, signal.SIGTERM)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def fork():
    child = os.fork()
    if child == 0:
        for _ in range(100): time.sleep(0.1)
    return child

if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # so that a child comes after its signal
assert [ended(fork()) for _ in range(50)] == [-15] * 50
assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
""",
        tmp_path,
    )
    assert program.end() == (0, "")


CHILD = """
import multiprocessing

def run(target):
    context = multiprocessing.get_context("fork")
    begun = context.Event()
    process = context.Process(target=target, args=(begun,))
    process.start()
    assert begun.wait(30)
    time.sleep(0.3)
    process.terminate()
    process.join(30)
    print(process.exitcode)
"""


def test_a_child_is_ended_within_a_long_call_in_c(tmp_path):
    """Its main thread comes to no handler there, and yet what has ended is sent, and the status is kept."""
    program = Program(
        CONFIGURE
        + CHILD
        + """
import hashlib

@co.monitor_performance("computing")
def compute(begun):
    work()
    begun.set()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**8)

run(compute)
""",
        tmp_path,
    )
    assert (program.line, *program.end()) == ("-15\n", 0, "")
    assert outcomes(tmp_path) == {"work": None, "computing": "interrupted"}


def test_children_of_a_child_are_ended_alone(tmp_path):
    """What wakes a child up is not told of its children's signals, and is gone after its shutdown."""
    program = Program(
        CONFIGURE
        + CHILD
        + """
def go_on(begun):
    reader, writer = os.pipe()
    grandchild = os.fork()
    if grandchild == 0:
        os.write(writer, b".")
        time.sleep(60)
    os.read(reader, 1)
    os.kill(grandchild, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]) == -15
    time.sleep(1)
    told = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(told)
    pipe = os.fstat(told).st_ino
    co.shutdown()
    assert signal.set_wakeup_fd(-1) == -1
    while pipe in open_files(): time.sleep(0.01)
    begun.set()
    time.sleep(60)

def open_files():
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError): yield os.stat(f"/proc/self/fd/{name}").st_ino

run(go_on)
""",
        tmp_path,
    )
    assert (program.line, *program.end()) == ("-15\n", 0, "")


def test_another_wakeup_descriptor_stays(tmp_path):
    """Where the program is told of signals itself, nobody else is."""
    program = Program(
        CONFIGURE
        + CHILD
        + """
reader, writer = os.pipe()
os.set_blocking(writer, False)
signal.set_wakeup_fd(writer)

def go_on(begun):
    assert signal.set_wakeup_fd(writer) == writer
    begun.set()
    time.sleep(60)

run(go_on)
assert os.read(reader, 10) == bytes([signal.SIGTERM])
""",
        tmp_path,
    )
    assert (program.line, *program.end()) == ("-15\n", 0, "")


@pytest.mark.once
def test_children_under_gevent(tmp_path):
    """Under its patched threads nothing wakes a child up; it ends as it would, and its spans are there."""
    pytest.importorskip("gevent")
    program = Program(
        CONFIGURE
        + CHILD
        + """
def go_on(begun):
    assert signal.set_wakeup_fd(-1) == -1
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
    work()
    begun.set()
    time.sleep(60)

run(go_on)
""",
        tmp_path,
        first="from gevent import monkey; monkey.patch_all()",
    )
    assert (program.line, *program.end()) == ("-15\n", 0, "")
    assert outcomes(tmp_path) == {"work": None}
