"""What reads telemetry files and sums them up: plain data, for whatever shows it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

DATA = Path(__file__).parent / "data"

# each module on its own, then a whole document; None in sys.modules: it cannot be imported
WITHOUT = """
import importlib, json, pathlib, pkgutil, sys
sys.modules.update(dict.fromkeys(["rich", "codoperf_otel.cli", "opentelemetry.sdk"]))
from codoperf_otel import _report
for module in pkgutil.iter_modules(_report.__path__):
    importlib.import_module(f"codoperf_otel._report.{module.name}")
from codoperf_otel._report.document import document
from codoperf_otel._report.files import read
print(json.dumps(document(read(pathlib.Path(sys.argv[1])))))
"""


def test_it_needs_neither_rich_nor_the_command():
    """A telemetry file becomes a document where neither rich nor the SDK nor ``cli`` can be imported."""
    command = [sys.executable, "-c", WITHOUT, str(DATA / "collector-traces.jsonl")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = [span["name"] for span in json.loads(done.stdout)["trees"][0]["spans"]]
    assert "invoke_agent reviewer" in names
