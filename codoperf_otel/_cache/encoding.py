"""Keys of single values.

A key is made of hashable parts only. ``int``, ``str``, ``bytes`` and None stand for themselves, since no
two of them of different types are equal; every other value is a pair of its type and its parts. What a
function can tell apart, keys tell apart: the order of a dict, 0.0 and -0.0, Decimal("1.0") and
Decimal("1.00"), in subclasses of their types too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterator
from enum import Enum
from functools import cached_property
from types import EllipsisType, MemberDescriptorType, NoneType
from typing import Any

from codoperf_otel._telemetry.interrupts import raise_interrupt

PLAIN = frozenset({int, str, bytes, NoneType})
MOST_LEVELS = 100

Encoder = Callable[[Any, int], Hashable]


class UnkeyableError(TypeError):
    """A value has no key."""


def encode(value: Any, levels: int = MOST_LEVELS) -> Hashable:
    """The key of a value that is nested in no more than that many levels.

    >>> encode(1), encode(True), encode([1, "1"])
    (1, (<class 'bool'>, 1), (<class 'list'>, (1, '1')))

    Raises:
        UnkeyableError: the value has neither a value that can be compared nor a ``__cache_key__()``, or
            there are more levels.
    """
    kind = type(value)
    if kind in PLAIN:
        return value  # type: ignore[no-any-return]
    text = _TEXTS.get(kind)
    if text is not None:
        return kind, text(value)
    if not levels:
        raise UnkeyableError(f"nested deeper than {MOST_LEVELS} levels")
    return kind, (_CONTAINERS.get(kind) or _encoder_of(kind))(value, levels - 1)


def is_immutable(value: Any) -> bool:
    """Whether a value of a standard type, and all that it holds, stays what it is."""
    kind = type(value)
    if kind in (tuple, frozenset):
        return all(map(is_immutable, value))
    return kind in PLAIN or (kind in _TEXTS and kind is not bytearray) or _name_of(kind) in _PARTS


def _encoder_of(kind: type) -> Encoder:
    if hasattr(kind, "__cache_key__"):
        return _own_key
    if issubclass(kind, Enum):
        return _member
    if hasattr(kind, "__dataclass_fields__"):
        return _fields
    if issubclass(kind, type):
        return _itself
    return _by_base if _base_of(kind) is not None else _by_equality


def _own_key(value: Any, levels: int) -> Hashable:
    return encode(value.__cache_key__(), levels)


def _member(value: Any, levels: int) -> Hashable:
    """Its name and its value, which an edit may change; the name alone, where the value has no key."""
    try:
        return value.name, encode(value.value, levels)
    except UnkeyableError:
        if value.name is None:
            raise
        return value.name, None


def _fields(value: Any, levels: int) -> Hashable:
    """What the fields hold that are set; and the other attributes, where fields do not say it all."""
    kind = type(value)
    fields = [field.name for field in dataclasses.fields(value)]
    more = _attributes(value, object) if _holds_more(kind) else ()
    names = dict.fromkeys((*fields, *sorted(more)))
    return tuple((name, encode(getattr(value, name), levels)) for name in names if hasattr(value, name))


def _holds_more(kind: Any) -> bool:
    """Whether instances may hold more than fields: those made from init-only ones, and of a subclass."""
    init_only = getattr(dataclasses, "_FIELD_INITVAR", None)
    kinds = [getattr(field, "_field_type", None) for field in kind.__dataclass_fields__.values()]
    return init_only in kinds or "__dataclass_fields__" not in kind.__dict__


def _items(value: Any, levels: int) -> Hashable:
    return tuple(encode(item, levels) for item in value)


def _members(value: Any, levels: int) -> Hashable:
    return frozenset(encode(item, levels) for item in value)


def _pairs(value: Any, levels: int) -> Hashable:
    return tuple((encode(key, levels), encode(item, levels)) for key, item in value.items())


def _slice(value: Any, levels: int) -> Hashable:
    return _items((value.start, value.stop, value.step), levels)


def _itself(value: Any, _: int) -> Hashable:
    return value  # type: ignore[no-any-return]


def _by_base(value: Any, levels: int) -> Hashable:
    """By what the known base tells apart, and in a subclass by its equality and its attributes besides."""
    kind = type(value)
    base = _base_of(kind) or object
    parts = _PARTS[_name_of(base)](base, value, levels)
    if kind is base:
        return parts
    more = tuple((name, encode(getattr(value, name), levels)) for name in sorted(_attributes(value, base)))
    return parts, more, _by_equality(value, levels) if kind.__eq__ is not base.__eq__ else None


def _base_of(kind: type) -> type | None:
    return next((base for base in kind.__mro__ if _name_of(base) in _PARTS), None)


def _name_of(kind: type) -> str:
    """The name that the documentation calls a standard type by: some stand in a submodule."""
    return f"{kind.__module__.partition('.')[0]}.{kind.__qualname__}"


def _attributes(value: Any, base: type) -> Iterator[str]:
    """The names of what an object holds beside what `base` does; no values that are kept to save time."""
    kind = type(value)
    for name in getattr(value, "__dict__", ()):
        if not isinstance(getattr(kind, name, None), cached_property):
            yield name
    for owner in kind.__mro__[: kind.__mro__.index(base)]:
        for name, member in vars(owner).items():
            if isinstance(member, MemberDescriptorType) and hasattr(value, name):
                yield name


def _moment(base: Any, value: Any, levels: int) -> Hashable:
    date = (value.year, value.month, value.day) if hasattr(base, "year") else ()
    time = (value.hour, value.minute, value.second, value.microsecond, value.fold)
    return (*date, *time, encode(value.tzinfo, levels))


def compares(kind: Any) -> bool:
    """Whether objects of this type say themselves which of them are equal."""
    return kind.__eq__ is not object.__eq__ or kind.__hash__ is not object.__hash__


def _by_equality(value: Any, _: int) -> Hashable:
    kind = type(value)
    if not compares(kind):
        raise UnkeyableError(f"{kind.__module__}.{kind.__qualname__}")
    try:
        hash(value)
    except Exception as error:  # the class's own code
        raise_interrupt(error)
        raise UnkeyableError(str(error)) from None
    return value  # type: ignore[no-any-return]


# texts that tell apart what equality does not: 0.0 and -0.0, Decimal("1.0") and Decimal("1.00")
_TEXTS: dict[type, Callable[[Any], Hashable]] = {
    bool: int,
    float: repr,
    complex: repr,
    range: repr,
    EllipsisType: repr,
    bytearray: bytes,
}
_CONTAINERS: dict[type, Encoder] = {
    slice: _slice,
    tuple: _items,
    list: _items,
    set: _members,
    frozenset: _members,
    dict: _pairs,
}


def _str(base: Any, value: Any, _: int) -> Hashable:
    return base.__str__(value)  # type: ignore[no-any-return]


def _repr(base: Any, value: Any, _: int) -> Hashable:
    return base.__repr__(value)  # type: ignore[no-any-return]


# how the parts are read that a base tells apart: by its own methods, for a subclass may have others
_PARTS: dict[str, Callable[[Any, Any, int], Hashable]] = {
    "builtins.bytes": lambda _, value, __: bytes(memoryview(value)),
    "builtins.complex": _repr,
    "builtins.float": _repr,
    "builtins.frozenset": lambda _, value, levels: _members(frozenset.__iter__(value), levels),
    "builtins.int": lambda _, value, __: int.__index__(value),
    "builtins.str": _str,
    "builtins.tuple": lambda _, value, levels: _items(tuple.__iter__(value), levels),
    "datetime.date": _str,
    "datetime.datetime": _moment,
    "datetime.time": _moment,
    "datetime.timedelta": _repr,
    "datetime.timezone": _repr,
    "decimal.Decimal": _str,
    "fractions.Fraction": _str,
    "pathlib.PosixPath": _str,
    "pathlib.PurePosixPath": _str,
    "pathlib.PureWindowsPath": _str,
    "pathlib.WindowsPath": _str,
    "re.Pattern": lambda _, value, __: (value.pattern, value.flags),
    "uuid.UUID": _str,
    "zoneinfo.ZoneInfo": _str,
}
