"""The demo with telemetry against the demo with `OTEL_SDK_DISABLED=true`: whole processes, cold cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pairs import ratio

ROUNDS = 5


def run() -> Iterator[str]:
    """One line: both medians and their ratio."""
    on, off, times = ratio(lambda: _seconds("false"), lambda: _seconds("true"), ROUNDS)
    yield f"demo {on:.2f} s, without telemetry {off:.2f} s: {times:.3f} x"


def _seconds(disabled: str) -> float:
    folder = Path(tempfile.mkdtemp())
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    environment |= {"OTEL_SDK_DISABLED": disabled, "XDG_CACHE_HOME": str(folder / "cache")}
    command = [sys.executable, "-P", "-m", "codoperf_otel.cli", "demo", "--out", str(folder / "out")]
    began = time.perf_counter()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    seconds = time.perf_counter() - began
    shutil.rmtree(folder)
    return seconds
