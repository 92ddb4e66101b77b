"""What functions, classes and modules hold, read without running anything of theirs."""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep  # noqa: PTH120

# what a class's dict holds that its other members, or its file, say already
_DERIVED = frozenset({
    "__annotations_cache__", "__dataclass_params__", "__dict__", "__firstlineno__", "__module__",
    "__non_callable_proto_members__", "__protocol_attrs__", "__qualname__", "__slots__",
    "__static_attributes__", "__weakref__", "_abc_impl", "_field_defaults",
})  # fmt: skip
_ACCESSORS = frozenset({"member_descriptor", "getset_descriptor", "_tuplegetter"})
_MADE_AT_RUN_TIME = 1 << 9  # of a type's flags, https://docs.python.org/3/c-api/typeobj.html
_METHODS = (types.FunctionType, staticmethod, classmethod, property)


def is_ours(func: Any) -> bool:
    """Whether a function is one that this package made around another."""
    code = getattr(func, "__code__", None)
    return isinstance(code, types.CodeType) and code.co_filename.startswith(_PACKAGE)


def has_full_name(value: object) -> bool:
    """Whether it is a function or a class. A proxy may say so, and be neither."""
    return type(value) is types.FunctionType or issubclass(type(value), type)


def members_of(module: types.ModuleType) -> Mapping[str, Any]:
    """A module's globals. To ask the module itself could load what is to be loaded late."""
    members: Mapping[str, Any] = object.__getattribute__(module, "__dict__")
    return members


def defining_module(value: Any) -> str:
    """The module of a function's code: a wrapper takes over the name of another."""
    return str(getattr(value, "__globals__", {}).get("__name__") or value.__module__ or "")


def chosen_key(func: Any) -> Any:
    """What a cached function was given as `key`: it decides which value a call gets."""
    return getattr(getattr(vars(func).get("cache_clear"), "__self__", None), "key", None)


def carried(func: Any) -> Iterator[Any]:
    """The values of a function's defaults and closure.

    Raises:
        ValueError: a variable of its closure is not set yet.
    """
    yield from func.__defaults__ or ()
    yield from (func.__kwdefaults__ or {}).values()
    for cell in func.__closure__ or ():
        yield cell.cell_contents


def annotated(func: Any) -> Iterator[tuple[str, Any]]:
    """The annotations, which frameworks read; from Python 3.14 on, the function that makes them."""
    if sys.version_info >= (3, 14):
        yield "annotate", func.__annotate__
    else:
        yield from func.__annotations__.items()


def class_around(func: Any) -> Any:
    """The class that a method stands in: methods call each other through `self`."""
    return _class_at(func.__globals__, func.__qualname__.split(".")[:-1])


def stands_in_its_module(kind: Any) -> bool:
    """Whether a class is where its module and its name say: any class can be given the name of another."""
    module = sys.modules.get(kind.__module__)
    if module is None or not kind.__flags__ & _MADE_AT_RUN_TIME:
        return True
    return _class_at(members_of(module), kind.__qualname__.split(".")) is kind


def _class_at(members: Mapping[str, Any], path: list[str]) -> Any:
    """The class that is found by these names, each in the one before."""
    value: Any = None
    for name in path:
        value = members.get(name)
        if not issubclass(type(value), type):
            return None
        members = vars(value)
    return value


def attributes_of(func: Any) -> Iterator[tuple[str, Any]]:
    """The attributes that were set on a function, without those that it took over from what it wraps."""
    wrapped = vars(func).get("__wrapped__")
    taken_over = vars(wrapped) if type(wrapped) is types.FunctionType else {}
    for name, value in vars(func).items():
        if name != "__wrapped__" and not (name in taken_over and taken_over[name] is value):
            yield name, value


def members_of_class(kind: Any) -> Iterator[tuple[str, Any]]:
    """What a class says itself; of an enumeration, its members' values and its methods."""
    if issubclass(kind, Enum):
        yield from ((name, member._value_) for name, member in kind.__members__.items())
        yield from ((name, value) for name, value in vars(kind).items() if type(value) in _METHODS)
        return
    for name, value in vars(kind).items():
        if name == "__annotations__":
            yield from ((f"{name}.{field}", annotation) for field, annotation in value.items())
        elif name == "__dataclass_fields__":
            yield from ((name, field.metadata) for field in value.values() if field.metadata)
        elif name not in _DERIVED:
            yield name, None if type(value).__name__ in _ACCESSORS else value
