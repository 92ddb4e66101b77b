"""The examples run as they stand, and show what they say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

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


def test_the_readmes_program(tmp_path, monkeypatch):
    """As typed, but for the folder that the page names for where there is no server."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    page = (EXAMPLES.parent / "README.md").read_text()
    (with_file,) = re.findall(r"No server at all\? `codoperf_otel\.(configure\(.*?\))`", page)
    code = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[0]
    (tmp_path / "my_agent.py").write_text(code.replace('configure("my-agent")', with_file))
    program = [sys.executable, "-P", "my_agent.py"]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("3.5\n", "")
    view = [sys.executable, "-P", "-m", "codoperf_otel.cli", "view", "--json", "out"]
    shown = json.loads(subprocess.run(view, cwd=tmp_path, capture_output=True, check=True).stdout)
    assert [row["name"] for row in shown["agents"]] == ["researcher"]
    assert [row["module"] for row in shown["lazy_loads"]] == ["statistics"]
    names = {span["name"] for tree in shown["trees"] for span in tree["spans"]}
    assert names == {"invoke_agent researcher", "execute_tool search", "rank", "__main__.parse"}


def test_resource_tracking(tmp_path):
    """Two operations, the memory that one of them took, and a benchmark that is significantly faster."""
    program = [sys.executable, "-P", str(EXAMPLES / "resource_tracking.py")]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "2 operations\nload pages grew by 64 MiB: True\nlist() is faster\n"
    assert not done.stderr
