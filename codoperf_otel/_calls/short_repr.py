"""The `repr` of a value up to a length. What lies beyond it is not formatted, however large the value is."""

from __future__ import annotations

import sys
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from itertools import islice
from typing import Any

LENGTH = 256

Items = Iterable[tuple[Any, ...]]
"""What stands between commas: each item a row of values, and of `_Text` that stands between them."""
Holders = tuple[int, ...]
"""The ids of the containers that a value is in."""


def short_repr(value: object) -> str:
    """`repr(value)` where that has at most 256 characters, else its beginning and ``…``.

    >>> short_repr({"numbers": [1, 2]})
    "{'numbers': [1, 2]}"
    >>> len(short_repr(list(range(1_000_000))))
    256
    """
    text = ""
    for piece in _pieces(value, ()):
        text += piece
        if len(text) > LENGTH:
            break
    return cut(text)


def cut(text: str, length: int = LENGTH) -> str:
    """The text, or its beginning and ``…`` where it has more than `length` characters."""
    return text if len(text) <= length else text[: length - 1] + "…"


class _Text(str):
    """A part of a `repr` that is no value itself."""

    __slots__ = ()


def _pieces(value: Any, holders: Holders) -> Iterator[str]:
    """The `repr` of a value, as it comes."""
    kind = type(value)
    method: object = kind.__repr__
    form = _FORMS.get(method) or (_dataclass if _has_dataclass_repr(kind) else None)
    if kind is _Text:
        yield value
    elif method in _SLICED:
        yield repr(value[:LENGTH])
    elif form is None or (not value and form is not _dataclass):
        yield repr(value)
    else:
        opening, items, closing = form(value)
        yield opening
        yield from ["..."] if id(value) in holders else _joined(items, (*holders, id(value)))
        yield closing


def _joined(items: Items, holders: Holders) -> Iterator[str]:
    for number, item in enumerate(items):
        if number:
            yield ", "
        for part in item:
            yield from _pieces(part, holders)


def _each(values: Iterable[Any]) -> Items:
    return [(value,) for value in list(islice(values, LENGTH))]


def _pairs(pairs: Iterable[tuple[Any, Any]]) -> Items:
    colon = _Text(": ")
    return [(key, colon, value) for key, value in list(islice(pairs, LENGTH))]


Form = Callable[[Any], tuple[str, Items, str]]
"""What a container's `repr` begins with, the items in it, and what it ends with."""


def _list(value: list[Any]) -> tuple[str, Items, str]:
    return "[", _each(value), "]"


def _tuple(value: tuple[Any, ...]) -> tuple[str, Items, str]:
    return "(", _each(value), ",)" if len(value) == 1 else ")"


def _set(value: Any) -> tuple[str, Items, str]:
    if type(value) is set:
        return "{", _each(value), "}"
    return f"{type(value).__name__}({{", _each(value), "})"


def _deque(value: deque[Any]) -> tuple[str, Items, str]:
    end = "])" if value.maxlen is None else f"], maxlen={value.maxlen})"
    return f"{type(value).__name__}([", _each(value), end


def _view(value: Iterable[Any]) -> tuple[str, Items, str]:
    return f"{type(value).__name__}([", _each(value), "])"


def _dict(value: dict[Any, Any]) -> tuple[str, Items, str]:
    return "{", _pairs(value.items()), "}"


def _default_dict(value: defaultdict[Any, Any]) -> tuple[str, Items, str]:
    return f"{type(value).__name__}({value.default_factory!r}, {{", _pairs(value.items()), "})"


def _ordered_dict(value: OrderedDict[Any, Any]) -> tuple[str, Items, str]:
    if sys.version_info < (3, 12):
        return f"{type(value).__name__}([", _each(value.items()), "])"
    return f"{type(value).__name__}({{", _pairs(value.items()), "})"


def _counter(value: Counter[Any]) -> tuple[str, Items, str]:
    return f"{type(value).__name__}({{", _pairs(value.most_common(LENGTH)), "})"


def _dataclass(value: Any) -> tuple[str, Items, str]:
    shown = [field.name for field in fields(value) if field.repr]
    return f"{type(value).__qualname__}(", [(_Text(f"{name}="), getattr(value, name)) for name in shown], ")"


def _has_dataclass_repr(kind: type) -> bool:
    """Whether the `repr` of a class is the one that `dataclasses.dataclass` makes."""
    made = getattr(kind.__repr__, "__wrapped__", None)
    return is_dataclass(kind) and "__create_fn__" in getattr(made, "__qualname__", "")


_FORMS: dict[object, Form] = {
    list.__repr__: _list,
    tuple.__repr__: _tuple,
    set.__repr__: _set,
    frozenset.__repr__: _set,
    deque.__repr__: _deque,
    dict.__repr__: _dict,
    defaultdict.__repr__: _default_dict,
    OrderedDict.__repr__: _ordered_dict,
    Counter.__repr__: _counter,
    type({}.keys()).__repr__: _view,
    type({}.values()).__repr__: _view,
    type({}.items()).__repr__: _view,
}
_SLICED: set[object] = {str.__repr__, bytes.__repr__, bytearray.__repr__, array.__repr__}
