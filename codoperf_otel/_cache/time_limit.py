"""A time limit for a whole call of a server, however many pieces its answer comes in."""

from __future__ import annotations

import math
import threading
import time
from typing import Any


class Deadline(threading.local):
    """Until when this thread's call may take."""

    until = math.inf

    def begin(self, seconds: float) -> None:
        """Let the call that begins now take that long."""
        self.until = time.monotonic() + seconds

    def left(self) -> float:
        """The seconds left.

        Raises:
            TimeoutError: there are none.
        """
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left


class _Socket:
    """A socket whose reads and writes end at the deadline: by itself, each would begin a limit anew."""

    def __init__(self, socket: Any, deadline: Deadline) -> None:
        self._socket = socket
        self._deadline = deadline

    def recv(self, *args: Any) -> Any:
        return self._in_time(self._socket.recv, *args)

    def recv_into(self, *args: Any) -> Any:
        return self._in_time(self._socket.recv_into, *args)

    def sendall(self, *args: Any) -> Any:
        return self._in_time(self._socket.sendall, *args)

    def _in_time(self, work: Any, *args: Any) -> Any:
        if self._socket.gettimeout() != 0:  # else it is not to wait at all
            self._socket.settimeout(self._deadline.left())
        return work(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


def limited(connection: Any, deadline: Deadline, seconds: float) -> type:
    """A class of connections of redis-py, of that kind, on which a call may take so many seconds in all."""

    class Limited(connection):  # type: ignore[misc]
        def _connect(self) -> _Socket:
            socket = super()._connect()
            deadline.begin(seconds)
            return _Socket(socket, deadline)

    return Limited
