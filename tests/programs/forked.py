"""Call a monitored function twice, fork, call it three times in the child.

forked.py ENDPOINT
"""

import os
import sys

import codoperf_otel


@codoperf_otel.monitor_performance("step")
def step() -> None:
    pass


telemetry = codoperf_otel.configure("forked", endpoint=sys.argv[1])
step()
step()
child = os.fork()
if child == 0:
    for _ in range(3):
        step()
    sys.exit()
os.waitpid(child, 0)
telemetry.shutdown()
