"""Fork again and again while threads are busy; print the pids of the children, and how each ended.

forking.py FOLDER METHOD CHILDREN, where METHOD is ``os.fork`` or ``multiprocessing``.
"""

import gc
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings

import codoperf_otel
from codoperf_otel import ResourceTracker, cached_function, performance_context

folder, method, children = sys.argv[1], sys.argv[2], int(sys.argv[3])
warnings.simplefilter("ignore", DeprecationWarning)  # Python's own, of forks under threads
LONGEST = 60


def burn(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


@codoperf_otel.monitor_performance("step")
def step() -> None:
    burn(0.002)


@codoperf_otel.monitor_performance("busy")
def busy() -> None:
    pass


@cached_function
def kept(number: int) -> int:
    return number


def operate(number: int) -> None:
    with performance_context("operating"):
        busy()


def track(number: int) -> None:
    tracker = ResourceTracker(0.001)
    tracker.start_tracking("tracking")
    busy()
    tracker.stop_tracking("tracking")


def collect(number: int) -> None:
    kept(number)
    gc.collect(0)


def work(job) -> None:
    number = 0
    while not stopped.is_set():
        number += 1
        job(number)
        time.sleep(0.001)


def in_child() -> None:
    signal.alarm(LONGEST)  # who waits for ever ends by a signal
    for _ in range(3):
        step()
    with performance_context("held"):
        held = bytearray(os.urandom(1) * (20 << 20))
    kept(-os.getpid())
    del held


def by_os_fork() -> tuple[int, int]:
    pid = os.fork()
    if pid == 0:
        in_child()
        sys.exit()
    return pid, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def by_multiprocessing() -> tuple[int, int]:
    process = multiprocessing.get_context("fork").Process(target=in_child)
    process.start()
    process.join()
    return process.pid, process.exitcode


telemetry = codoperf_otel.configure(
    "forking", file=folder, metric_export_interval=0.5, gc_pauses=True, event_loop=0.1
)
burn(1)  # the parent's own CPU time, which no child may report
stopped = threading.Event()
threads = [threading.Thread(target=work, args=(job,)) for job in (operate, track, collect)]
for thread in threads:
    thread.start()
fork = by_os_fork if method == "os.fork" else by_multiprocessing
ended = dict(fork() for _ in range(children))
stopped.set()
for thread in threads:
    thread.join()
telemetry.shutdown()
print(json.dumps(ended))
