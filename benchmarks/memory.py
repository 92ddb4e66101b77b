"""What millions of records leave in memory; `RECORDS=100000` in the environment makes it short."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

from codoperf_otel import PerformanceMonitor

FIRST = 10_000
MEBI = 1 << 20


def _records() -> Iterator[str]:
    records = int(os.environ.get("RECORDS", "10000000"))
    monitor, draw = PerformanceMonitor(), Random(1)

    def record(number: int) -> int:
        for _ in range(number):
            monitor.record_metrics("work", draw.lognormvariate(-7, 2))
        return _resident()

    before = record(FIRST)
    most = max(record(FIRST) for _ in range(records // FIRST - 1))
    counted = monitor.get_stats("work")["total_calls"]
    yield f"{counted} records: at most {(most - before) / MEBI:.2f} MiB more than after the first {FIRST}"


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


PARTS = {"records": _records}
