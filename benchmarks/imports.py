"""`import codoperf_otel` against the import of the API that it needs: CPU time of whole processes."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator

from pairs import ratio, with_bytecode

ROUNDS = 20
API = "import opentelemetry.trace, opentelemetry.metrics"


def _run() -> Iterator[str]:
    pair = ratio(lambda: _seconds("import codoperf_otel"), lambda: _seconds(API), ROUNDS)
    yield f"import codoperf_otel against that of the API: {pair}; {pair.measured * 1e3:.1f} ms"


def _seconds(program: str) -> float:
    before = _children()
    subprocess.run([sys.executable, "-P", "-c", program], env=with_bytecode(), check=True)
    return _children() - before


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


PARTS = {"processes": _run}
