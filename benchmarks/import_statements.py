"""Run the tracer with a second clock, around import statements: ``import_statements.py SECONDS TRACER …``.

The seconds that no other import statement was around are written to the file SECONDS.
"""

from __future__ import annotations

import builtins
import importlib
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_, target, *sys.argv = sys.argv
spent = 0.0
depth = 0


def timed(load: Callable[..., Any]) -> Callable[..., Any]:
    """The same, with the time added up that is spent in the outermost one."""

    def call(*arguments: Any, **options: Any) -> Any:
        global spent, depth
        depth += 1
        began = time.perf_counter()
        try:
            return load(*arguments, **options)
        finally:
            depth -= 1
            if not depth:
                spent += time.perf_counter() - began

    return call


builtins.__import__ = timed(builtins.__import__)
importlib.import_module = timed(importlib.import_module)
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    Path(target).write_text(str(spent))
