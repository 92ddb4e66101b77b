"""Call monitored code until SIGTERM, whose handler shuts telemetry down and ends the program with status 7.

terminated.py SECONDS FOLDER
"""

import itertools
import os
import signal
import sys
import threading

import codoperf_otel as co


@co.monitor_performance("function")
def function():
    pass


@co.tool("tool")
def tool():
    function()


def handler(*_):
    co.shutdown()
    sys.exit(7)


# never full: a full batch takes a lock of the SDK's, for which a handler that comes then waits
os.environ |= dict.fromkeys(("OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"), "1000000")
co.configure("terminated", file=sys.argv[2])
signal.signal(signal.SIGTERM, handler)
threading.Timer(float(sys.argv[1]), os.kill, (os.getpid(), signal.SIGTERM)).start()
for work in itertools.cycle((function, tool)):
    work()
