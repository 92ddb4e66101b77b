"""Digests of keys: SHA-256, the same in every process, that reveal no argument.

A key that holds an identity, an object that only its own equality describes, or a class that is
local to a function has none: its entry stays in memory.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Hashable
from itertools import repeat
from typing import Any

from codoperf_otel._cache.members import stands_in_its_module
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


def portable(key: Any, program: str | None = None) -> bytes:
    """A key as bytes, which say where they end. `program` is where classes stand that were pickled by value.

    Raises:
        NotPortableError: the key holds what only this process knows.
    """
    kind = type(key)
    if kind is str:  # written out, like tuples: a frame less
        tag, data = b"s", key.encode("utf-8", "surrogatepass")
    elif kind is tuple:
        tag, data = b"(", b"".join(map(portable, key, repeat(program)))
    elif kind is frozenset:
        tag, data = b"{", b"".join(sorted(map(portable, key, repeat(program))))
    elif kind in _WRITERS:
        tag, write = _WRITERS[kind]
        data = write(key)
    elif isinstance(key, type):
        tag, data = b"t", _portable_name(key, program).encode()
    else:
        raise NotPortableError(kind.__qualname__)
    return b"%b%d:%b" % (tag, len(data), data)


def _portable_name(kind: type, program: str | None) -> str:
    if "<locals>" in kind.__qualname__:
        raise NotPortableError(kind.__qualname__)
    is_pickled = program is not None and kind.__module__ in PROGRAM and not stands_in_its_module(kind)
    return f"{program if is_pickled else module_or_file(kind.__module__)}:{kind.__qualname__}"


_WRITERS: dict[type, tuple[bytes, Callable[[Any], bytes]]] = {
    type(None): (b"n", lambda _: b""),
    int: (b"i", lambda number: hex(number).encode()),
    bytes: (b"b", bytes),
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
