"""Work until something ends the process; each call that has ended is a byte in a file.

ended.py HOW FOLDER
"""

import os
import sys
import threading

from opentelemetry import trace

import codoperf_otel as co

how, folder = sys.argv[1:3]
os.environ["OTEL_BSP_MAX_QUEUE_SIZE"] = "1000000"  # no span finds it full
co.configure("ended", file=folder)
done = os.open(f"{folder}/done", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


@co.monitor_performance("work")
def work():
    pass


@co.tool("tool")
def tool():
    work()


def work_on(number=sys.maxsize):
    for _ in range(number):
        work()
        os.write(done, b".")


def fill_and_flush():
    while True:
        work_on(10)
        trace.get_tracer_provider().force_flush()  # under a lock of the SDK's, in this thread


def start_threads():
    while True:
        thread = threading.Thread(target=work_on, args=(1,))
        thread.start()
        thread.join()


if __name__ == "__main__":
    print("works", flush=True)
    {"calls": work_on, "flushes": fill_and_flush, "threads": start_threads}[how]()
