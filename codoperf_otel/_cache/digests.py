"""Digests of keys: SHA-256, the same in every process, that reveal no argument.

A key that holds an identity, an object that only its own equality describes, or a class that is
local to a function has none: its entry stays in memory.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Hashable
from typing import Any

from codoperf_otel._telemetry.paths import is_file, real_path

PROGRAM = ("__main__", "__mp_main__")


class NotPortableError(Exception):
    """A key means nothing outside this process."""


def digest(key: Hashable) -> str:
    """The digest of a key.

    Raises:
        NotPortableError: the key holds what only this process knows.
    """
    return hashlib.sha256(portable(key)).hexdigest()


def portable(key: Any) -> bytes:
    """A key as bytes, which say where they end.

    Raises:
        NotPortableError: the key holds what only this process knows.
    """
    kind = type(key)
    if kind is str:  # written out, like tuples: a frame less
        tag, data = b"s", key.encode("utf-8", "surrogatepass")
    elif kind is tuple:
        tag, data = b"(", b"".join(map(portable, key))
    elif kind in _WRITERS:
        tag, write = _WRITERS[kind]
        data = write(key)
    elif isinstance(key, type):
        tag, data = b"t", f"{module_or_file(key.__module__)}:{_portable_name(key)}".encode()
    else:
        raise NotPortableError(kind.__qualname__)
    return b"%b%d:%b" % (tag, len(data), data)


def _portable_name(kind: type) -> str:
    if "<locals>" in kind.__qualname__:
        raise NotPortableError(kind.__qualname__)
    return kind.__qualname__


_WRITERS: dict[type, tuple[bytes, Callable[[Any], bytes]]] = {
    type(None): (b"n", lambda _: b""),
    int: (b"i", lambda number: hex(number).encode()),
    bytes: (b"b", bytes),
    frozenset: (b"{", lambda parts: b"".join(sorted(map(portable, parts)))),
}


def module_or_file(name: str) -> str:
    """The module's name; for the program's own one, its file.

    Raises:
        NotPortableError: the program has no file, as in a notebook.
    """
    if name not in PROGRAM:
        return name
    file: str | None = getattr(sys.modules.get(name), "__file__", None)
    if not file or not is_file(file):
        raise NotPortableError(f"{name} has no file")
    return real_path(file)
