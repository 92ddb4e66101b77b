"""A real model in the process: the CPU time of its native threads is on the agent's span."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from codoperf_otel._report.files import read

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "local_model.py"


def test_native_threads_are_on_the_agents_span(tmp_path):
    """They are in the CPU time of the process, and not in that of the agent's own code."""
    environment = {**os.environ, "OTEL_SDK_DISABLED": "false"}
    command = [sys.executable, "-P", "-W", "ignore", EXAMPLE]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "greeter" in done.stdout
    (span,) = (span for span in read(tmp_path / "local-model").spans if span.name == "invoke_agent greeter")
    own, in_all = span.attributes["codoperf.cpu.time"], span.attributes["codoperf.process.cpu.time"]
    assert in_all > 0.1
    assert own < 0.1 * in_all
