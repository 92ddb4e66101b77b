"""The folders that the stack uses, and the lock on one."""

from __future__ import annotations

import fcntl
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def home() -> Path:
    """The user's home, also where HOME is unset or empty."""
    return Path(os.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir)


def cache_folder() -> Path:
    """Where built binaries are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or home() / ".cache") / "codoperf-otel" / "stack"


@contextmanager
def locked(folder: Path) -> Iterator[Path]:
    """Make the folder and hold it against a second run; the lock ends with the process."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another run uses {folder}: waiting for it…", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
