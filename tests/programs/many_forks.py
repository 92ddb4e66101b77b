"""Fork so many times, eight children at a time, while threads of the parent call and export.

many_forks.py FOLDER CHILDREN

It prints one JSON object: the children that ended badly, and the calls of the parent's threads.
"""

import json
import os
import signal
import sys
import threading
import time
import warnings

import codoperf_otel as co

folder, children = sys.argv[1], int(sys.argv[2])
warnings.simplefilter("ignore", DeprecationWarning)  # Python's own, of forks under threads
AT_ONCE, LONGEST = 8, 120


@co.monitor_performance("step")
def step():
    pass


@co.monitor_performance("busy")
def busy():
    pass


def work():
    while not stopped.is_set():
        busy()
        calls.append(None)
        time.sleep(0.002)


def in_child():
    signal.alarm(LONGEST)  # who waits for ever ends by a signal
    for _ in range(3):
        step()
    sys.exit()


def reap():
    pid, status = os.wait()
    running.discard(pid)
    if status:
        bad.append(pid)


handle = co.configure("forks", file=folder, metric_export_interval=0.5)
stopped, calls, running, bad = threading.Event(), [], set(), []
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
for _ in range(children):
    if (pid := os.fork()) == 0:
        in_child()
    running.add(pid)
    while len(running) >= AT_ONCE:
        reap()
while running:
    reap()
stopped.set()
for thread in threads:
    thread.join()
handle.shutdown()
print(json.dumps({"bad": bad, "busy": len(calls)}))
