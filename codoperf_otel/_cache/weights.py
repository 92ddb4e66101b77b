"""How many bytes a value takes in memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from math import inf
from types import BuiltinFunctionType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

from codoperf_otel._telemetry.interrupts import raise_interrupt

_SHARED = (type, ModuleType, FunctionType, BuiltinFunctionType, MethodType)


def weigh(value: Any, most: float = inf) -> int:
    """The bytes of a value and of all that its containers and attributes hold, each object counted once.

    Classes, functions and modules count nothing, as they are there anyway. Nothing more is counted once there
    are more than `most` bytes.

    >>> weigh([bytes(1000)] * 10) < 2000
    True
    """
    seen: dict[int, Any] = {}  # holds the objects, so that none gets the identity of another
    waiting = [value]
    total = 0
    while waiting:
        each = waiting.pop()
        if id(each) in seen or issubclass(type(each), _SHARED):
            continue
        seen[id(each)] = each
        try:
            total += _own_bytes(each)
            if total > most:
                break
            waiting += _items(each)
            waiting += _attributes(each)
        except Exception as error:  # the code of the object's class
            raise_interrupt(error)
    return total


def _own_bytes(value: Any) -> int:
    """Those of the object alone; of an array also the data that another object holds for it."""
    own, data = sys.getsizeof(value, 0), getattr(value, "nbytes", 0)
    return max(own, data) if type(data) is int else own


def _items(value: Any) -> list[Any]:
    return next((items(value) for base, items in _ITEMS.items() if issubclass(type(value), base)), [])


_ITEMS: dict[type, Callable[[Any], list[Any]]] = {
    dict: lambda value: [*dict.keys(value), *dict.values(value)],
    list: lambda value: list(list.__iter__(value)),
    tuple: lambda value: list(tuple.__iter__(value)),
    set: lambda value: list(set.__iter__(value)),
    frozenset: lambda value: list(frozenset.__iter__(value)),
}


def _attributes(value: Any) -> Iterator[Any]:
    if hasattr(value, "__dict__"):
        yield value.__dict__
    for owner in type(value).__mro__:
        for name, member in vars(owner).items():
            if type(member) is MemberDescriptorType and hasattr(value, name):
                yield getattr(value, name)
