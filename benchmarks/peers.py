"""Decorators of other libraries, each in an environment of its own, and this package in the same one.

A library and this package are measured against the bare call of the same SDK, each in a process of its
own, and compared by what they cost of it. Nothing is sent anywhere. The environments are kept under the
user's cache folder; peers/*.txt pin what is in them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PEERS = {
    "logfire": ("@instrument", "ours"),
    "traceloop": ("@task", "ours"),
    "langfuse": ("@observe", "ours"),
    "openinference": ("@chain", "ours"),
    "autometrics": ("@autometrics, no spans", "ours-without-spans"),
}
NOTHING_SENT = {
    "TRACELOOP_TELEMETRY": "false",
    "TRACELOOP_METRICS_ENABLED": "false",
    "LANGFUSE_MEDIA_UPLOAD_ENABLED": "false",
    "LOGFIRE_SEND_TO_LOGFIRE": "false",
    "DO_NOT_TRACK": "1",
}


def _compare(peer: str) -> Iterator[str]:
    decorator, us = PEERS[peer]
    try:
        python = environment(peer)
        theirs, ours = _measure(python, peer), _measure(python, us)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"{peer} was not measured: {error}") from error
    share = ours["times"] / theirs["times"]
    yield (
        f"{theirs['release']} {decorator}: {theirs['text']}; ours: {ours['text']}; ours is {share:.2f} of it"
    )


def environment(peer: str) -> Path:
    """The Python of an environment with the peer, made once, and with this package as it is now."""
    pins = HERE / "peers" / f"{peer}.txt"
    digest = hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = _cache_folder() / f"{peer}-{digest}"
    python = folder / "bin" / "python"
    if not (folder / ".complete").exists():
        _uv("venv", "--clear", "--python", sys.executable, folder)
        _uv("pip", "sync", "--python", python, pins)
        (folder / ".complete").touch()
    _uv("pip", "install", "--python", python, "--no-deps", "--reinstall", HERE.parent)
    return python


def kept_variables() -> dict[str, str]:
    """The environment variables without those that change what is measured."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHON"))}


def _cache_folder() -> Path:
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "codoperf-otel" / "benchmarks"


def _uv(*arguments: str | Path) -> None:
    uv = shutil.which("uv", path=Path(sys.executable).parent) or "uv"
    subprocess.run([uv, *arguments, "--quiet"], check=True)


def _measure(python: Path, who: str) -> dict[str, Any]:
    command, variables = [python, HERE / "peer.py", who], kept_variables() | NOTHING_SENT
    done = subprocess.run(command, env=variables, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


PARTS: dict[str, Callable[[], Iterator[str]]] = {peer: partial(_compare, peer) for peer in PEERS}
