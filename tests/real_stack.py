"""The real Collector, Jaeger and Prometheus of a test session, and what is asked of them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

SCRIPT = Path(__file__).parents[1] / "collector-config" / "stack"
PATIENCE = 30.0


class Stack(NamedTuple):
    """The addresses of three running services."""

    otlp_grpc: str
    otlp_http: str
    jaeger: str
    prometheus: str

    def trace(self, trace_id: str) -> dict[str, Any]:
        """A trace as Jaeger has it, by span id."""
        data = get(f"{self.jaeger}/api/traces/{trace_id}")["data"]
        return {span["spanID"]: span for trace in data for span in trace["spans"]}

    def query(self, promql: str) -> list[dict[str, Any]]:
        """The result of an instant query."""
        return get(f"{self.prometheus}/api/v1/query", query=promql)["data"]["result"]

    def value(self, promql: str) -> float:
        """The one value of an instant query; 0 where there is none."""
        result = self.query(promql)
        return float(result[0]["value"][1]) if result else 0.0

    def exemplars(self, promql: str) -> list[dict[str, Any]]:
        """The exemplars of a series, of the last hour."""
        now = time.time()
        found = get(
            f"{self.prometheus}/api/v1/query_exemplars", query=promql, start=now - 3600, end=now + 60
        )["data"]
        return [exemplar for series in found for exemplar in series["exemplars"]]


def start(folder: Path) -> Stack:
    """Start the three on free ports, with their data under a folder."""
    command = [sys.executable, str(SCRIPT), "up", "--free-ports", "--dir", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stderr}\nThe stack cannot be started; `make stack` builds it."
    addresses = json.loads((folder / "addresses.json").read_text())
    return Stack(*(addresses[name] for name in Stack._fields))


def stop(folder: Path) -> None:
    """End what `start` started."""
    subprocess.run(
        [sys.executable, str(SCRIPT), "down", "--dir", str(folder)], check=True, capture_output=True
    )


def get(url: str, **parameters: object) -> Any:
    """The JSON that an address gives."""
    if parameters:
        url = f"{url}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def post(url: str, body: bytes, kind: str = "application/json") -> Any:
    """What an address answers to a body."""
    request = urllib.request.Request(url, body, {"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read() or b"{}")


def eventually(check: Callable[[], Any], wanted: Callable[[Any], bool]) -> Any:
    """The first outcome of `check` that is wanted; the last one when patience ends."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            outcome = check()
            if wanted(outcome) or time.monotonic() > end:
                return outcome
        except urllib.error.HTTPError:
            if time.monotonic() > end:
                raise
        time.sleep(0.2)
