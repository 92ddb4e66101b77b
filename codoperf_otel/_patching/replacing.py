"""Names of modules and classes set to something else, everywhere they were imported to, and put back."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from types import FunctionType, ModuleType
from typing import Any, NamedTuple, TypeGuard, cast

ABSENT: Any = object()
"""The original of a name that a class does not have."""


class Replacement(NamedTuple):
    """A name of a module or class under which a replacement stands in the place of its original."""

    owner: ModuleType | type
    name: str
    original: Any
    replacement: Any

    @property
    def holds(self) -> bool:
        """False once someone else has set the name."""
        return namespace(self.owner).get(self.name) is self.replacement

    def put(self, value: Any) -> None:
        """Set the name, past what a metaclass or the class of a module does at that."""
        if value is ABSENT:
            type.__delattr__(cast("type", self.owner), self.name)
        elif isinstance(self.owner, type):
            type.__setattr__(self.owner, self.name, value)
        else:
            namespace(self.owner)[self.name] = value


def replace_imported(replacements: Iterable[Replacement]) -> None:
    """Let the loaded modules that have imported a function by its name have the replacement."""
    _rename({id(r.original): r.replacement for r in replacements if not isinstance(r.owner, type)})


def restore(replacements: Iterable[Replacement]) -> None:
    """Put the originals back, wherever a module has the replacement."""
    replacements = list(replacements)
    for replaced in replacements:
        if replaced.holds:
            replaced.put(replaced.original)
    _rename({id(r.replacement): r.original for r in replacements if not isinstance(r.owner, type)})


def unbound(method: Any) -> Callable[..., Any]:
    """What a class holds under a name, as a function that is called with the instance first.

    The wrapper of another library must be bound, as it is when its name is looked up: else it does not know
    the instance.
    """
    if type(method) is FunctionType:  # such a wrapper pretends to be of the class of what it wraps
        return method

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return method.__get__(self, type(self))(*args, **kwargs)

    return call


def _rename(new: dict[int, Any]) -> None:
    for module in loaded_modules():
        known = namespace(module)
        for name, value in list(known.items()):
            if id(value) in new:
                known[name] = new[id(value)]


def namespace(owner: ModuleType | type) -> dict[str, Any]:
    """What a module or a class holds; `importlib.util.LazyLoader` is not made to load it."""
    held = ModuleType.__getattribute__(owner, "__dict__") if is_module(owner) else vars(owner)
    return cast("dict[str, Any]", held)


def is_module(value: object) -> TypeGuard[ModuleType]:
    """Whether it is one by its type: the libraries of cffi say that their class is a module's."""
    return issubclass(type(value), ModuleType)


def loaded_modules() -> Iterable[ModuleType]:
    """Each loaded module once."""
    modules: list[object] = list(sys.modules.values())
    return {id(module): module for module in modules if is_module(module)}.values()
