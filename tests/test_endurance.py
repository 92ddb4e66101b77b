"""What takes minutes, at full scale."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from scaling import soak_only
from telemetry_files import calls_counted, spans_named

PROGRAMS = Path(__file__).parent / "programs"
FORKS = 1_000


def run(program, *arguments):
    """What a program prints."""
    command = [sys.executable, PROGRAMS / f"{program}.py", *arguments]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@soak_only
def test_many_forks(tmp_path):
    """No child hangs, and every call of children and parent is a span and is counted, in its own process."""
    found = run("many_forks", tmp_path, FORKS)
    assert found["bad"] == []
    assert spans_named(tmp_path, "step") == 3 * FORKS
    assert spans_named(tmp_path, "busy") == found["busy"]
    assert calls_counted(tmp_path) == 3 * FORKS + found["busy"]
