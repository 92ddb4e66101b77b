"""The asking side."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

from codoperf_otel.__about__ import __version__
from codoperf_otel._live.folder import in_force, is_answered, socket_of, sockets
from codoperf_otel._live.peers import is_of_this_user

SECONDS = 10.0
"""How long an answer may take."""

_AT_ONCE = 1 << 16
_PAUSE = 0.01


class NoAnswerError(Exception):
    """A process cannot be asked; the text is one line that says why."""


def ask(pid: int | None, question: str) -> list[Any]:
    """The rows that a process answers with; without a pid the only one that listens.

    Raises:
        NoAnswerError: there is none, or it does not answer.
    """
    folder = _folder()
    if pid is None:
        pid = _only_one(folder)
    try:
        said = json.loads(_asked(socket_of(folder, pid), question))
        version = said["version"]
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise NoAnswerError(f"no process {pid} listens in {folder}: {_HOW}") from error
    except TimeoutError as error:
        raise NoAnswerError(f"process {pid} did not answer within {SECONDS:g} s") from error
    except (ValueError, TypeError, LookupError, ConnectionError) as error:
        raise NoAnswerError(f"process {pid} ended before it had answered") from error
    except OSError as error:
        raise NoAnswerError(f"process {pid} cannot be asked: {error}") from error
    if version != __version__:
        raise NoAnswerError(
            f"process {pid} has codoperf-otel {version}, and this is {__version__}: use the same one"
        )
    if "error" in said:
        raise NoAnswerError(f"process {pid}: {said['error']}")
    rows: list[Any] = said["rows"]
    return rows


_HOW = "start the program with configure(live=True)"


def _folder() -> Path:
    if not hasattr(socket, "AF_UNIX"):
        raise NoAnswerError("no process can be asked here, as Python has no Unix sockets: name a recording")
    try:
        return in_force()
    except ValueError as error:
        raise NoAnswerError(str(error)) from error


def _only_one(folder: Path) -> int:
    try:
        found = [pid for pid, path in sockets(folder).items() if is_answered(path)]
    except OSError as error:
        raise NoAnswerError(f"{folder}: {error.strerror}") from error
    if not found:
        raise NoAnswerError(f"no process listens in {folder}: {_HOW}")
    if len(found) > 1:
        pids = ", ".join(map(str, sorted(found)))
        raise NoAnswerError(f"several processes listen in {folder}, choose one with --pid: {pids}")
    return found[0]


def _asked(path: Path, question: str) -> bytes:
    deadline = time.monotonic() + SECONDS
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(SECONDS)
        _connect(connection, path, deadline)
        if not is_of_this_user(connection):
            raise PermissionError(f"{path} is another user's")
        connection.sendall(json.dumps({"question": question}).encode() + b"\n")
        return _read_all(connection, deadline)


def _connect(connection: socket.socket, path: Path, deadline: float) -> None:
    while True:
        try:
            return connection.connect(str(path))
        except BlockingIOError:  # so many wait there that there is no more room
            if time.monotonic() >= deadline:
                raise TimeoutError from None
            time.sleep(_PAUSE)


def _read_all(connection: socket.socket, deadline: float) -> bytes:
    received = bytearray()
    while chunk := connection.recv(_AT_ONCE):
        received += chunk
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
    return bytes(received)
