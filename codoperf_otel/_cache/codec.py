"""Values as bytes, each by the first codec from which it comes back exactly as it was.

Texts, bytes and numpy arrays are written as they are, other plain data as JSON, everything else by pickle.
Whoever reads pickled bytes checks their signature first: unpickling runs what the bytes say.
"""

from __future__ import annotations

import json
import pickle
import sys
from importlib import import_module
from typing import Any, NamedTuple, Protocol

from codoperf_otel._telemetry.interrupts import raise_interrupt


class Serializer(Protocol):
    """How a program of its own writes values: ``DiskTier(serializer=…)``, and the same of `RedisTier`."""

    def dumps(self, value: Any) -> bytes:
        """The value as bytes. What it raises keeps the value in memory."""
        ...

    def loads(self, data: bytes) -> Any:
        """The value again. What it raises makes the entry invalid."""
        ...


class Encoded(NamedTuple):
    """A value's bytes, and which codec wrote them."""

    codec: str
    data: bytes


class _Text:
    name = "text"

    def dumps(self, value: Any) -> bytes | None:
        try:
            return value.encode() if type(value) is str else None
        except UnicodeEncodeError:  # lone surrogates
            return None

    def loads(self, data: bytes) -> Any:
        return data.decode()


class _Raw:
    name = "bytes"

    def dumps(self, value: Any) -> bytes | None:
        return value if type(value) is bytes else None

    def loads(self, data: bytes) -> Any:
        return data


class _Json:
    name = "json"

    def dumps(self, value: Any) -> bytes | None:
        try:
            return _to_json(value).encode() if _is_plain(value) else None
        except (ValueError, RuntimeError) as error:
            raise_interrupt(error)
            return None  # NaN, lone surrogates, huge integers; cycles, changes meanwhile

    def loads(self, data: bytes) -> Any:
        return _from_json(data.decode())[0]


_to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_from_json = json.JSONDecoder().raw_decode


_SCALARS = frozenset({type(None), bool, int, float, str})
_are_texts = frozenset({str}).issuperset


def _is_plain(value: Any) -> bool:
    kind = type(value)
    if kind in _SCALARS:
        return True
    if kind is list:
        return all(map(_is_plain, value))
    return kind is dict and _are_texts(map(type, value)) and all(map(_is_plain, value.values()))


class _Array:
    """numpy's own arrays of plain numbers: dtype, shape and order in a line, then the data."""

    name = "numpy"

    def dumps(self, value: Any) -> bytes | None:
        numpy = sys.modules.get("numpy")
        if numpy is None or type(value) is not numpy.ndarray or value.dtype.hasobject or value.dtype.names:
            return None
        order = "F" if value.flags.fnc else "C"
        header = json.dumps([value.dtype.str, value.shape, order]).encode()
        return b"%b\n%b" % (header, value.tobytes(order))

    def loads(self, data: bytes) -> Any:
        numpy = import_module("numpy")
        header, _, content = data.partition(b"\n")
        dtype, shape, order = json.loads(header)
        return numpy.ndarray(shape, numpy.dtype(dtype), bytearray(content), order=order)


class _Pickle:
    name = "pickle"

    def dumps(self, value: Any) -> bytes:
        return pickle.dumps(value, protocol=5)

    def loads(self, data: bytes) -> Any:
        return pickle.loads(data)  # noqa: S301 - its signature was checked


class _Exact(Protocol):
    """A codec whose `dumps` returns None for a value that would come back different."""

    @property
    def name(self) -> str: ...
    def dumps(self, value: Any) -> bytes | None: ...
    def loads(self, data: bytes) -> Any: ...


_EXACT: tuple[_Exact, ...] = (_Text(), _Json(), _Raw(), _Array())


class Codecs:
    """The codecs of one tier: `serializer` alone where there is one; with `pickles` any value is taken."""

    def __init__(self, serializer: Serializer | None = None, *, pickles: bool = True) -> None:
        self._exact = _EXACT if serializer is None else ()
        self._last = serializer or (_Pickle() if pickles else None)
        self._last_name = _Pickle.name if serializer is None else _name_of(serializer)
        self._loads = {codec.name: codec.loads for codec in self._exact}
        if self._last is not None:
            self._loads[self._last_name] = self._last.loads

    def encode(self, value: Any) -> Encoded:
        """The value by the first codec that takes it.

        Raises:
            Exception: what the last codec raised; no codec takes it.
        """
        for codec in self._exact:
            data = codec.dumps(value)
            if data is not None:
                return Encoded(codec.name, data)
        if self._last is None:
            raise TypeError(f"a value of type {type(value).__qualname__} would have to be pickled")
        written = self._last.dumps(value)
        if not isinstance(written, bytes):
            raise TypeError(f"dumps() of {self._last_name} returned {type(written).__qualname__}, not bytes")
        return Encoded(self._last_name, written)

    def decode(self, codec: str, data: bytes) -> Any:
        """The value again.

        Raises:
            ValueError: no codec here can read it.
        """
        try:
            return self._loads[codec](data)
        except Exception as error:
            raise_interrupt(error)
            raise ValueError(f"not {codec} data: {error}") from None


def _name_of(serializer: Serializer) -> str:
    kind = type(serializer)
    return f"{kind.__module__}:{kind.__qualname__}"
