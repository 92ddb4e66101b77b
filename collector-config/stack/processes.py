"""Background processes known by a file: which one was started, whether it lives, and its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

POLL_SECONDS = 0.05
TERMINATE_SECONDS = 15.0


def start(
    record: Path, command: Sequence[str], environment: Mapping[str, str], output: Path
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own and write who it is into `record`."""
    with output.open("ab") as stream:
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=record.parent,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    record.write_text(json.dumps({"pid": process.pid, "started": _start_time(process.pid)}))
    return process


def alive(record: Path) -> int | None:
    """The id of the recorded process, if it is still that one: a later process may have got the same id."""
    try:
        known = json.loads(record.read_text())
        pid, started = int(known["pid"]), str(known["started"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return pid if _start_time(pid) == started else None


def stop(record: Path) -> bool:
    """End the recorded process and remove the record; False if it was not running."""
    pid = alive(record)
    if pid is not None:
        with suppress(ProcessLookupError):  # it ended by itself just now
            os.kill(pid, signal.SIGTERM)
            if not _ended(record, TERMINATE_SECONDS):
                os.kill(pid, signal.SIGKILL)
                _ended(record, TERMINATE_SECONDS)
    record.unlink(missing_ok=True)
    return pid is not None


def _ended(record: Path, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while alive(record) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _start_time(pid: int) -> str | None:
    """When the process started, as the system writes it; None if it has ended."""
    if Path("/proc/self/stat").exists():
        return _proc_start_time(pid)
    ran = subprocess.run(
        ["ps", "-o", "stat=", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, started = ran.stdout.strip().partition(" ")
    return started.strip() if started and not state.startswith("Z") else None


def _proc_start_time(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may hold spaces and brackets
    return None if fields[0] in "ZX" else fields[19]
