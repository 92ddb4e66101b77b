"""Fork pools and leave each at a random moment, which ends its workers by SIGTERM; print how long each took.

pools.py FOLDER POOLS SEED
"""

import multiprocessing
import os
import random
import sys
import threading
import time

import codoperf_otel as co

folder, pools, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
chance = random.Random(seed)
co.configure("pools", file=folder)
done = os.open(f"{folder}/done", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


@co.monitor_performance("work")
def work():
    pass


def job(_):
    work()
    os.write(done, b".")


def run_pool():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        match chance.choice(("idle", "waited for", "busy")):
            case "waited for":
                pool.map(job, range(4))
            case "busy":
                pool.map_async(job, range(1000))
                time.sleep(chance.random() * 0.05)


def make_load():
    while True:
        sum(range(1000))


threading.Thread(target=make_load, daemon=True).start()
for _ in range(pools):
    began = time.monotonic()
    run_pool()
    print(time.monotonic() - began, flush=True)
