"""Who is at the other end of a Unix socket."""

from __future__ import annotations

import os
import socket
import struct
import sys

_CREDENTIALS = struct.Struct("iII")  # `struct ucred`: process, user, group


def is_of_this_user(connection: socket.socket) -> bool:
    """Whether the process at the other end is this user's.

    Only Linux says it in a way that Python can ask for. Elsewhere the modes of folder and socket decide.
    """
    if sys.platform != "linux":
        return True
    said = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(said)[1]) == os.geteuid()
