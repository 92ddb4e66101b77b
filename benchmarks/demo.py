"""The demo with telemetry against the demo with `OTEL_SDK_DISABLED=true`: whole processes, cold cache."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pairs import ratio, with_bytecode

ROUNDS = 5


def _run() -> Iterator[str]:
    pair = ratio(lambda: _seconds("false"), lambda: _seconds("true"), ROUNDS)
    yield f"demo {pair.measured:.2f} s, without telemetry {pair.base:.2f} s: {pair}"


def _seconds(disabled: str) -> float:
    folder = Path(tempfile.mkdtemp())
    environment = {name: value for name, value in with_bytecode().items() if not name.startswith("OTEL_")}
    environment |= {"OTEL_SDK_DISABLED": disabled, "XDG_CACHE_HOME": str(folder / "cache")}
    command = [sys.executable, "-P", "-m", "codoperf_otel.cli", "demo", "--out", str(folder / "out")]
    began = time.perf_counter()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    seconds = time.perf_counter() - began
    shutil.rmtree(folder)
    return seconds


PARTS = {"processes": _run}
