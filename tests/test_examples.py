"""The examples run as they stand, and show what they say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_research_agent(tmp_path, monkeypatch):
    """The second search is a hit, and the lazy import is on the operation that paid for it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    program = [sys.executable, "-P", str(EXAMPLES / "research_agent.py")]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "4.4\n4.4\n"
    assert not done.stderr
    view = [sys.executable, "-P", "-m", "codoperf_otel.cli", "view", "--json", "research-agent"]
    shown = json.loads(subprocess.run(view, cwd=tmp_path, capture_output=True, check=True).stdout)
    (cache,) = shown["caches"]
    assert (cache["hits"], cache["misses"]) == (1, 1)
    (lazy,) = shown["lazy_loads"]
    assert (lazy["module"], lazy["operation"]) == ("statistics", "rank")
    assert [row["name"] for row in shown["agents"]] == ["researcher"]
