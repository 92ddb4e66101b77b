"""The listening side: one socket and one daemon thread, which never waits for a client."""

from __future__ import annotations

import logging
import os
import selectors
import socket
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

from codoperf_otel._live.answers import answer
from codoperf_otel._live.conversation import Conversation
from codoperf_otel._live.folder import is_answered, socket_of, sockets
from codoperf_otel._live.peers import is_of_this_user
from codoperf_otel._telemetry.interrupts import raise_interrupt

log = logging.getLogger("codoperf_otel.live")

MOST_CLIENTS = 16
"""Conversations at a time. The oldest one makes way for another."""

SECONDS = 10.0
"""How long a conversation may take."""

_BACKLOG = 16
_PAUSE = 0.1


class Listener:
    """Answers this user's questions from the time that it is made until `stop`.

    Raises:
        OSError: the socket cannot be made.
        RuntimeError: there can be no further thread.
    """

    def __init__(self, folder: Path) -> None:
        """`folder` is there, and this user's alone."""
        self._path = socket_of(folder, os.getpid())
        self._socket = _listening(self._path)
        self._is_open = True
        self._clients: list[Conversation] = []
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ, self._accept)
        try:
            Thread(target=self._run, name="codoperf-otel-live", daemon=True).start()
        except BaseException:
            self.stop()
            self.let_go()
            raise

    def stop(self) -> None:
        """Listen no more. It takes no lock, as a signal handler may call it; again, it does nothing."""
        if self._is_open:
            self._is_open = False
            for act in (is_answered, Path.unlink):  # to look who answers wakes the thread
                self._attempt(act)

    def let_go(self) -> None:
        """Close what is open; in a forked child, which has it open too, the parent's stays."""
        self._selector.close()
        self._socket.close()
        for client in self._clients:
            client.connection.close()

    def _attempt(self, act: Callable[[Path], object]) -> None:
        try:
            act(self._path)
        except OSError as error:  # the folder was cleaned up, or is no folder any more
            raise_interrupt(error)
            log.debug("%s: %s", self._path, error)

    def _run(self) -> None:
        _remove_abandoned(self._path.parent)
        while self._is_open:
            try:
                self._turn()
            except Exception as error:
                raise_interrupt(error)
                log.warning("nobody can ask this process any more", exc_info=True)
                self.stop()
        self.let_go()

    def _turn(self) -> None:
        """Do what can be done now, after there is something to do."""
        for key, _ in self._selector.select(self._pause()):
            key.data()
        now = time.monotonic()
        for client in [each for each in self._clients if each.deadline <= now]:
            self._drop(client)

    def _pause(self) -> float | None:
        """Seconds until the first client is late."""
        if not self._clients:
            return None
        return max(0.0, self._clients[0].deadline - time.monotonic())

    def _accept(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except BlockingIOError:  # the client is gone
            return
        except OSError:  # the program has no more descriptors: the client waits
            time.sleep(_PAUSE)
            return
        if not is_of_this_user(connection):
            connection.close()
            return
        if len(self._clients) >= MOST_CLIENTS:
            self._drop(self._clients[0])
        client = Conversation(connection, time.monotonic() + SECONDS, answer)
        self._clients.append(client)
        self._selector.register(connection, selectors.EVENT_READ, self._going_on(client))

    def _going_on(self, client: Conversation) -> Callable[[], None]:
        def go_on() -> None:
            if client not in self._clients:  # it was dropped in the same turn
                return
            wanted = client.go_on()
            if wanted:
                self._selector.modify(client.connection, wanted, go_on)
            else:
                self._drop(client)

        return go_on

    def _drop(self, client: Conversation) -> None:
        self._clients.remove(client)
        self._selector.unregister(client.connection)
        client.connection.close()


def _listening(path: Path) -> socket.socket:
    """A socket that has its name only from when it listens: where nobody answers, nobody ever will."""
    if is_answered(path):
        raise FileExistsError(f"another process answers at {path}")
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.setblocking(False)
        fresh = path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        listening.bind(str(fresh))
        fresh.chmod(0o600)
        listening.listen(_BACKLOG)
        fresh.rename(path)
    except BaseException:
        listening.close()
        raise
    return listening


def _remove_abandoned(folder: Path) -> None:
    """Remove the sockets of processes that were killed."""
    try:
        for pid, path in sockets(folder).items():
            if pid != os.getpid() and not is_answered(path):
                path.unlink(missing_ok=True)
    except OSError as error:
        raise_interrupt(error)
        log.debug("sockets of ended processes stay in %s: %s", folder, error)
