"""Addresses on disk: SHA-256 digests that say the same in every process, and nothing about the arguments.

A key that holds an identity, an object that only its own equality describes, or a class that is
local to a function has no address: its entry stays in memory.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Hashable, Iterator
from types import CodeType
from typing import Any

from codoperf_otel._cache.keys import UnkeyableError, encode


class NotPortableError(Exception):
    """A key means nothing outside this process."""


def digest(key: Hashable) -> str:
    """The address of a key.

    Raises:
        NotPortableError: the key holds what only this process knows.
    """
    import hashlib  # with it OpenSSL is loaded

    return hashlib.sha256(_bytes(key)).hexdigest()


def _bytes(key: Any) -> bytes:
    if isinstance(key, type):
        return _tagged(b"t", f"{_module_of(key.__module__)}:{_portable_name(key)}".encode())
    kind = type(key)
    if kind not in _WRITERS:
        raise NotPortableError(kind.__qualname__)
    tag, write = _WRITERS[kind]
    return _tagged(tag, write(key))


def _tagged(tag: bytes, data: bytes) -> bytes:
    return b"%b%d:%b" % (tag, len(data), data)


def _portable_name(kind: type) -> str:
    if "<locals>" in kind.__qualname__:
        raise NotPortableError(kind.__qualname__)
    return kind.__qualname__


_WRITERS: dict[type, tuple[bytes, Callable[[Any], bytes]]] = {
    type(None): (b"n", lambda _: b""),
    int: (b"i", lambda number: hex(number).encode()),
    str: (b"s", lambda text: text.encode("utf-8", "surrogatepass")),
    bytes: (b"b", bytes),
    tuple: (b"(", lambda parts: b"".join(map(_bytes, parts))),
    frozenset: (b"{", lambda parts: b"".join(sorted(map(_bytes, parts)))),
}


def _module_of(name: str) -> str:
    """The module's name; for the program's own one, its file.

    Raises:
        NotPortableError: the program has no file, as in a notebook.
    """
    if name not in ("__main__", "__mp_main__"):
        return name
    file: str | None = getattr(sys.modules.get(name), "__file__", None)
    if not file or not os.path.isfile(file):  # noqa: PTH113
        raise NotPortableError(name)
    return os.path.realpath(file)


def origin(func: Callable[..., Any], prefix: str | None, version: str | None) -> str | None:
    """What tells a function from every other one and from its other versions; None: memory only."""
    try:
        which = ("version", version) if version is not None else ("code", *map(_code_of, _layers(func)))
        return digest((_module_of(func.__module__), func.__qualname__, prefix, which))
    except (AttributeError, NotPortableError):
        return None


def state(func: Callable[..., Any]) -> Hashable:
    """The values that a function brings along beside its code: defaults and closures.

    Raises:
        NotPortableError: one of them has no key.
    """
    layers = list(_layers(func))
    try:
        return tuple(encode(value) for value in _brought(layers) if not any(value is f for f in layers))
    except (UnkeyableError, RecursionError, ValueError) as error:  # ValueError: a closure not filled yet
        raise NotPortableError(str(error)) from None


def _brought(layers: list[Any]) -> Iterator[Any]:
    for func in layers:
        yield func.__defaults__
        yield func.__kwdefaults__
        for name, cell in zip(func.__code__.co_freevars, func.__closure__ or (), strict=True):
            if name != "__class__":  # the class a method stands in: its name says so already
                yield cell.cell_contents


def _layers(func: Any) -> Iterator[Any]:
    """The function and, where decorators wrapped one, those below it."""
    while func is not None:
        yield func
        func = getattr(func, "__wrapped__", None)


def _code_of(func: Any) -> Hashable:
    return _described(func.__code__)


def _described(code: CodeType) -> Hashable:
    """All of a code object that decides what it does; no address, file or line."""
    constants = tuple(_described(c) if isinstance(c, CodeType) else encode(c) for c in code.co_consts)
    return (
        code.co_code,
        code.co_exceptiontable,
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
        code.co_flags,
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        constants,
    )
