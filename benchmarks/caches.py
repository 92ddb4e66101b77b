"""The caches against other libraries' caches, all in one environment that is made for it (see `peers`)."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from functools import partial

from peers import HERE, environment, kept_variables

_PARTS = ("hits", "get", "tasks", "misses", "disk", "many")


def _measured(part: str) -> Iterator[str]:
    python = environment("caches")
    with tempfile.TemporaryDirectory() as folder:
        yield from subprocess.run(
            [python, HERE / "cache_peer.py", part, folder],
            env=kept_variables(), check=True, stdout=subprocess.PIPE, text=True,
        ).stdout.splitlines()  # fmt: skip


PARTS = {part: partial(_measured, part) for part in _PARTS}
