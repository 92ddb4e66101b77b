"""`import codoperf_otel` against the import of the API that it needs: whole processes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

from pairs import ratio

ROUNDS = 20
API = "import opentelemetry.trace, opentelemetry.metrics"


def run() -> Iterator[str]:
    """One line: both medians and their ratio."""
    ours, api, times = ratio(lambda: _seconds("import codoperf_otel"), lambda: _seconds(API), ROUNDS)
    yield f"import codoperf_otel {ours * 1e3:.1f} ms, the API alone {api * 1e3:.1f} ms: {times:.2f} x"


def _seconds(program: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-P", "-c", program], check=True)
    return time.perf_counter() - began
