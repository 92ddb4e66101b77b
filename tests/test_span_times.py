"""Start and end of nested spans, and the numbers on them."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "programs" / "timed.py"
CALLS = 1000

setups = pytest.mark.parametrize("setup", ["instrument", "lean spans", "configure"])


@pytest.fixture(scope="module")
def spans(tmp_path_factory, scale):
    """The spans of nested calls, from the first one of a process on."""

    @cache
    def made(setup):
        arguments = [sys.executable, PROGRAM, setup, scale(CALLS), tmp_path_factory.mktemp("timed")]
        done = subprocess.run([*map(str, arguments)], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return made


@setups
def test_a_child_is_within_its_parent(spans, setup, scale):
    """No span begins before its parent or ends after it, the first one of the process included."""
    made = spans(setup)
    by_id = {span["id"]: span for span in made}
    assert len(made) > 15 * scale(CALLS)
    assert sum(span["parent"] is None for span in made) == 1
    for span in made:
        parent = by_id.get(span["parent"], span)
        assert parent["start"] <= span["start"] <= span["end"] <= parent["end"], (span, parent)


@setups
def test_times_have_no_float_noise(spans, setup):
    """Seconds on spans are nanoseconds, divided once: nothing beyond the ninth digit."""
    floats = {(name, value) for span in spans(setup) for name, value in span["floats"].items()}
    assert {"codoperf.cpu.time", "codoperf.process.cpu.time"} <= {name for name, _ in floats}
    assert [each for each in sorted(floats) if round(each[1], 9) != each[1]] == []
