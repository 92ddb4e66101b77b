"""A client of the listening process: one question, one answer. Nobody waits for it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from selectors import EVENT_READ, EVENT_WRITE

MOST_BYTES = 4096
"""Of a question. A longer one is not heard to its end."""


class Conversation:
    """What a client has sent, and what is left to send it."""

    __slots__ = ("_answer", "_left", "_received", "connection", "deadline")

    def __init__(self, connection: socket.socket, deadline: float, answer: Callable[[bytes], bytes]) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.deadline = deadline
        self._answer = answer
        self._received = b""
        self._left: memoryview | None = None

    def go_on(self) -> int:
        """Do what can be done without waiting; returns the event to wait for, 0 when it is over."""
        try:
            return self._read() if self._left is None else self._write(self._left)
        except BlockingIOError:
            return EVENT_READ if self._left is None else EVENT_WRITE
        except OSError:  # the client is gone
            return 0

    def _read(self) -> int:
        received = self.connection.recv(MOST_BYTES)
        self._received += received
        question, end, _ = self._received.partition(b"\n")
        if end:
            self._left = memoryview(self._answer(question))
            return self._write(self._left)
        return EVENT_READ if received and len(self._received) < MOST_BYTES else 0

    def _write(self, left: memoryview) -> int:
        self._left = left[self.connection.send(left) :]
        return EVENT_WRITE if self._left else 0
