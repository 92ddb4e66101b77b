"""Programs that are asked while they run."""

from __future__ import annotations

import os
import subprocess
import sys

LONG = 30.0
"""Seconds in which anything happens, also on a loaded machine."""

PROGRAM = """
import os, signal, sys, time
import codoperf_otel as co

@co.monitor_performance
def bare():
    time.sleep(0.001)

@co.monitor_performance("work")
def work():
    sum(range(1000))

@co.cached_function(disk=False)
def look_up(key):
    return f"secret value of {key}"

@co.tool("grep")
def grep(pattern):
    raise LookupError(pattern)

def review():
    with co.agent("reviewer"):
        for _ in range(5):
            bare(), work(), look_up("secret key")
        with co.performance_context("block", query="secret attribute"):
            pass
        try:
            grep("secret pattern")
        except LookupError:
            pass

for line in iter(sys.stdin.readline, ""):
    exec(line)
    print("done", os.getpid(), flush=True)
"""


class Program:
    """A program that runs the lines of code that it is sent, after it has been configured."""

    def __init__(self, configure, *flags, **variables):
        environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
        self.process = subprocess.Popen(
            [sys.executable, *flags, "-c", PROGRAM],
            env={**environ, "OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none", **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.pid = self.process.pid
        self.do(configure)

    def do(self, code):
        """Run a line of code there, and wait for it."""
        self.process.stdin.write(f"{code}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()

    def end(self, number=None):
        """Let it end, or send it a signal; its status and what it wrote to stderr."""
        if number is not None:
            self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=LONG)
        return self.process.returncode, errors
