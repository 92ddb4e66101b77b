"""Hand calls to processes of a pool.

pooled.py POOL METHOD FOLDER
"""

import concurrent.futures
import multiprocessing
import os
import sys

import codoperf_otel as co

pool, method, folder = sys.argv[1:4]
co.configure("pooled", file=folder)
NUMBER = 20


@co.monitor_performance("work")
def work(number):
    return number


def run_pool(context):
    with context.Pool(2) as pool:  # whose end kills the workers
        pool.map(work, range(NUMBER), chunksize=1)


def run_executor(context):
    with concurrent.futures.ProcessPoolExecutor(2, context) as executor:
        list(executor.map(work, range(NUMBER)))


def run_exit(context):
    """Processes that end at once, after they were given a function."""
    for number in range(NUMBER):
        if os.fork() == 0:
            work(number)
            os._exit(0)
        os.wait()


def run_terminated(context):
    """A process that is ended while it waits."""
    begun = context.Event()
    process = context.Process(target=work_and_wait, args=(begun,))
    process.start()
    begun.wait()
    process.terminate()
    process.join()
    assert process.exitcode == -15


def work_and_wait(begun):
    for number in range(NUMBER):
        work(number)
    begun.set()
    while True:
        multiprocessing.Event().wait(1)


if __name__ == "__main__":
    {
        "pool": run_pool,
        "executor": run_executor,
        "exit": run_exit,
        "terminated": run_terminated,
    }[pool](multiprocessing.get_context(method))
