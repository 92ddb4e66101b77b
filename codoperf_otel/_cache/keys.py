"""Keys of calls: by the arguments' values and types.

`self` is keyed by identity: through a weak reference, which equals another only while both objects
live and are the same one. So a method's cache keeps no object alive, and one that later gets the
same address is never taken for it. (Objects that allow no weak reference are held by their entries.)
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Hashable
from types import CodeType
from typing import Any

from codoperf_otel._cache.encoding import PLAIN, UnkeyableError, compares, encode

Args = tuple[Any, ...]
Kwargs = dict[str, Any]

_plain = PLAIN.issuperset


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
        # the interpreter keeps one plain reference per object, so that comparing it costs nothing
        return _Same(value) if compares(kind) else weakref.ref(value)
    except TypeError:
        return _Held(value)


def key_of_value(value: Any) -> Hashable:
    """The key of what a manager is asked for.

    Raises:
        TypeError: it has none.
    """
    try:
        return encode(value)
    except (UnkeyableError, RecursionError) as error:
        raise TypeError(f"it cannot be a key: {_without_key(value, error)}") from None


def _without_key(value: Any, why: Exception) -> str:
    return f"{type(value).__qualname__} has no key ({why}); give its class a __cache_key__() method"


class Keys:
    """The keys of one function's calls; `chosen` makes them in place of the arguments."""

    __slots__ = ("_chosen", "_func", "_name", "_parameters", "is_method", "make")

    def __init__(self, func: Callable[..., Any], chosen: Callable[..., Any] | None = None) -> None:
        self._name = getattr(func, "__qualname__", repr(func))
        self._parameters = _parameters(func)
        self._func = func
        self._chosen = chosen
        self.is_method = self._parameters[:1] == ("self",)
        self.make: Callable[[Args, Kwargs], Hashable] = self._of_method if self.is_method else self._of_call
        if chosen is not None:
            self.make = self._of_chosen

    def __reduce__(self) -> tuple[Any, ...]:
        return Keys, (self._func, self._chosen)

    @property
    def itself(self) -> frozenset[type]:
        """The types of which a single argument is its call's key."""
        return PLAIN if self._chosen is None and not self.is_method else frozenset()

    @property
    def explanation(self) -> str:
        """What counts of a call, for people."""
        if self._chosen is not None:
            return "what key= returns"
        of_self = (
            "self by its __cache_key__(), without which entries stay in memory; the others "
            if self.is_method
            else "each "
        )
        return f"{of_self}by value and type"

    def _of_chosen(self, args: Args, kwargs: Kwargs) -> Hashable:
        return self._part("what key= returned", self._chosen(*args, **kwargs))  # type: ignore[misc]

    def _of_method(self, args: Args, kwargs: Kwargs) -> Hashable:
        if len(args) == 2 and type(args[1]) in PLAIN and not kwargs:
            return identity(args[0]), args[1]
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
            self._part(f"its argument {named[place] if place < len(named) else f'#{place + 1}'!r}", value)
            for place, value in enumerate(args)
        )
        return (
            parts,
            *((name, self._part(f"its argument {name!r}", kwargs[name])) for name in sorted(kwargs)),
        )

    def _part(self, which: str, value: Any) -> Hashable:
        try:
            return encode(value)
        except (UnkeyableError, RecursionError) as error:
            raise TypeError(
                f"{self._name}() cannot be cached by {which}: {_without_key(value, error)}"
            ) from None


def _parameters(func: Callable[..., Any]) -> tuple[str, ...]:
    """The names of the positional parameters that a caller fills, `self` included."""
    try:
        inner = inspect.unwrap(func)
    except ValueError:  # an object that has whatever attribute is asked for
        inner = func
    code = getattr(inner, "__code__", None)
    names = code.co_varnames[: code.co_argcount] if isinstance(code, CodeType) else ()
    return names[1:] if inspect.ismethod(inner) else names
