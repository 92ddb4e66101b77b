"""The clocks that entries expire by. A store takes them when it is made, so a test can hand in its own."""

from __future__ import annotations

import os
import time

from codoperf_otel._telemetry.interrupts import raise_interrupt

monotonic = time.monotonic
wall = time.time


def boot() -> str:
    """Identifies one run of the monotonic clock: the machine's boot, else this process."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123
            return file.read().strip()
    except OSError as error:
        raise_interrupt(error)
        return _PROCESS


_PROCESS = os.urandom(16).hex()
