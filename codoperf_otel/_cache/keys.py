"""Keys of calls: by the arguments' values and types.

A key is made of hashable parts only. ``int``, ``str``, ``bytes`` and None stand for themselves, since no
two of them of different types are equal; every other value is a pair of its type and its parts.

`self` is keyed by identity: through a weak reference, which equals another only while both objects
live and are the same one. So a method's cache keeps no object alive, and one that later gets the
same address is never taken for it. (Objects that allow no weak reference are held by their entries.)
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable
from enum import Enum
from types import CodeType, EllipsisType, NoneType
from typing import Any

PLAIN = frozenset({int, str, bytes, NoneType})

Args = tuple[Any, ...]
Kwargs = dict[str, Any]

_plain = PLAIN.issuperset


class UnkeyableError(TypeError):
    """A value has no key."""


class _Same(weakref.ref[Any]):
    """Equal to another only for one and the same living object, whatever the object says itself."""

    __slots__ = ("_id",)

    _id: int

    def __new__(cls, value: Any) -> _Same:
        made = super().__new__(cls, value)
        made._id = id(value)
        return made

    def __hash__(self) -> int:
        return self._id

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        mine = self()
        return mine is not None and isinstance(other, _Same) and mine is other()

    def __ne__(self, other: object) -> bool:  # a weak reference has its own
        return not self == other


class _Held:
    """The same for an object that allows no weak reference."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held) and self.value is other.value


def identity(value: Any) -> Hashable:
    """The key of one object: that of its ``__cache_key__()``, else the object itself."""
    kind = type(value)
    if hasattr(kind, "__cache_key__"):
        return kind, encode(value.__cache_key__())
    try:
        # the interpreter keeps one plain reference an object, so that comparing it costs nothing
        return _Same(value) if _compares(kind) else weakref.ref(value)
    except TypeError:
        return _Held(value)


def encode(value: Any) -> Hashable:
    """The key of a value.

    >>> encode(1), encode(True), encode([1, "1"])
    (1, (<class 'bool'>, 1), (<class 'list'>, (1, '1')))

    Raises:
        UnkeyableError: the value has neither a value that can be compared nor a ``__cache_key__()``.
    """
    kind = type(value)
    if kind in PLAIN:
        return value  # type: ignore[no-any-return]
    return kind, (_ENCODERS.get(kind) or _encoder_of(kind))(value)


def _encoder_of(kind: type) -> Callable[[Any], Hashable]:
    if hasattr(kind, "__cache_key__"):
        return _own_key
    if issubclass(kind, Enum):
        return _member
    if "__dataclass_fields__" in kind.__dict__:
        return _fields
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return _items
    if issubclass(kind, type):
        return _itself
    return _STANDARD.get(f"{kind.__module__.partition('.')[0]}.{kind.__qualname__}", _by_equality)


def _own_key(value: Any) -> Hashable:
    return encode(value.__cache_key__())


def _member(value: Any) -> Hashable:
    return value.name or encode(value.value)


def _fields(value: Any) -> Hashable:
    return tuple((name, encode(getattr(value, name))) for name in value.__dataclass_fields__)


def _items(value: Any) -> Hashable:
    return tuple(map(encode, value))


def _members(value: Any) -> Hashable:
    return frozenset(map(encode, value))


def _pairs(value: Any) -> Hashable:
    return frozenset((encode(key), encode(item)) for key, item in value.items())


def _itself(value: Any) -> Hashable:
    return value  # type: ignore[no-any-return]


def _slice(value: Any) -> Hashable:
    return encode(value.start), encode(value.stop), encode(value.step)


def _moment(value: Any) -> Hashable:
    return value.replace(tzinfo=None).isoformat(), value.fold, encode(value.tzinfo)


def _compares(kind: Any) -> bool:
    """Whether objects of this type say themselves which of them are equal."""
    return kind.__eq__ is not object.__eq__ or kind.__hash__ is not object.__hash__


def _by_equality(value: Any) -> Hashable:
    kind = type(value)
    if not _compares(kind):
        raise UnkeyableError(f"{kind.__module__}.{kind.__qualname__}")
    try:
        hash(value)
    except Exception as error:  # the class's own code
        raise UnkeyableError(str(error)) from None
    return value  # type: ignore[no-any-return]


# texts that tell apart what equality does not: 0.0 and -0.0, Decimal("1.0") and Decimal("1.00")
_ENCODERS: dict[type, Callable[[Any], Hashable]] = {
    bool: int,
    float: repr,
    complex: repr,
    range: repr,
    EllipsisType: repr,
    bytearray: bytes,
    slice: _slice,
    tuple: _items,
    list: _items,
    set: _members,
    frozenset: _members,
    dict: _pairs,
}
_STANDARD: dict[str, Callable[[Any], Hashable]] = {
    "datetime.date": str,
    "datetime.datetime": _moment,
    "datetime.time": _moment,
    "datetime.timedelta": repr,
    "datetime.timezone": repr,
    "decimal.Decimal": str,
    "fractions.Fraction": str,
    "pathlib.PosixPath": str,
    "pathlib.PurePosixPath": str,
    "pathlib.PureWindowsPath": str,
    "pathlib.WindowsPath": str,
    "uuid.UUID": str,
    "zoneinfo.ZoneInfo": str,
}


class Keys:
    """The keys of one function's calls."""

    __slots__ = ("_name", "_parameters", "is_method", "make")

    def __init__(self, func: Callable[..., Any]) -> None:
        code: CodeType | None = getattr(func, "__code__", None)
        self._name = getattr(func, "__qualname__", repr(func))
        self._parameters = code.co_varnames[: code.co_argcount] if code else ()
        self.is_method = self._parameters[:1] == ("self",)
        self.make: Callable[[Args, Kwargs], Hashable] = self._of_method if self.is_method else self._of_call

    def _of_method(self, args: Args, kwargs: Kwargs) -> Hashable:
        if args:
            return identity(args[0]), self._of_call(args[1:], kwargs)
        rest = {name: value for name, value in kwargs.items() if name != "self"}
        return identity(kwargs.get("self")), self._of_call((), rest)

    def _of_call(self, args: Args, kwargs: Kwargs) -> Hashable:
        if kwargs:
            items = sorted(kwargs.items()) if len(kwargs) > 1 else kwargs.items()
            if _plain(map(type, args)) and _plain(map(type, kwargs.values())):
                return (args, *items)
        elif _plain(map(type, args)):
            return args if len(args) != 1 else args[0]
        return self._of_parts(args, kwargs)

    def _of_parts(self, args: Args, kwargs: Kwargs) -> Hashable:
        first = 1 if self.is_method else 0
        named = self._parameters[first:]
        parts = tuple(
            self._part(named[place] if place < len(named) else f"#{place + 1}", value)
            for place, value in enumerate(args)
        )
        return (parts, *((name, self._part(name, kwargs[name])) for name in sorted(kwargs)))

    def _part(self, name: str, value: Any) -> Hashable:
        try:
            return encode(value)
        except (UnkeyableError, RecursionError) as error:
            raise TypeError(
                f"{self._name}() cannot be cached by its argument {name!r}: "
                f"{type(value).__qualname__} has no key ({error}); give its class a __cache_key__() method"
            ) from None
