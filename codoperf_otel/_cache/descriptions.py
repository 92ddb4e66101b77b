"""What decides what an object of code does, by its kind: its own code, and what it refers to."""

from __future__ import annotations

import functools
import logging
import types
from collections.abc import Callable, Hashable, Iterable, Iterator
from enum import Enum
from typing import Any, NamedTuple, Protocol

from codoperf_otel._cache.bytecode import Import, Names, described, names_in
from codoperf_otel._cache.digests import NotPortableError
from codoperf_otel._cache.installed import Home
from codoperf_otel._cache.members import (
    annotated,
    attributes_of,
    carried,
    chosen_key,
    class_around,
    defining_module,
    has_full_name,
    is_ours,
    members_of,
    members_of_class,
    stands_in_its_module,
)

_READ_ANYTHING = frozenset({"__import__", "globals", "vars", "eval", "exec"})
_FIND_ANYTHING = frozenset({"import_module", "modules", "__globals__"})
_GUARDS = ("dataclasses", "reprlib")  # what they put around a `__repr__` says nothing of it
_MADE_OF_MANY = ("__args__", "__metadata__", "__constraints__")
_MADE_OF_ONE = ("__origin__", "__supertype__", "__bound__")
_SENTINELS = frozenset({"_MISSING_TYPE", "_HAS_DEFAULT_FACTORY_CLASS"})


class Found(NamedTuple):
    """An object, and the name of the global or the attribute by which it was found."""

    value: Any
    name: str
    is_brought: bool = False
    """Whether it was found in a closure or a default, not by a global name."""
    is_root: bool = False
    is_global: bool = False


class Walk(Protocol):
    """What describing needs of the walk through all objects."""

    def refer(self, found: Found) -> Hashable: ...
    def leave_gap(self, reason: str) -> None: ...
    def home_of(self, module: str) -> Home: ...
    def use(self, names: Names) -> None: ...
    def look_into(self, module: types.ModuleType) -> None: ...


Describer = Callable[[Found, Walk], Hashable]


def describe(found: Found, walk: Walk) -> Hashable:
    """What decides what the object does.

    Raises:
        NotPortableError: it was brought along, and cannot be described.
    """
    kind = type(found.value)
    if issubclass(kind, type):
        return kind.__qualname__, _class(found, walk)
    if issubclass(kind, Enum):
        return _refer(found, walk, kind), found.value.name
    return kind.__qualname__, _DESCRIBERS.get(kind, _opaque)(found, walk)


def is_code(value: object) -> bool:
    """Whether an object is described by the code in it, not by its value."""
    kind = type(value)
    return issubclass(kind, type) or (kind in _DESCRIBERS and kind is not tuple)


def _refer(found: Found, walk: Walk, value: Any, name: str = "") -> Hashable:
    """Refer to an object that was found through another.

    A function or a class that stands under its name in a module is not brought along. An installed one has no
    part of its own: its distribution counts.
    """
    if _is_of_types(value):
        return type(value).__qualname__, _typing(found._replace(value=value), walk)
    if type(value) is types.ModuleType and walk.home_of(members_of(value)["__name__"]).is_outside:
        return str(members_of(value)["__name__"])
    if not has_full_name(value):
        return walk.refer(Found(value, name, found.is_brought, is_global=found.is_global))
    full_name = f"{value.__module__}.{value.__qualname__}"
    if is_ours(value) and value.__closure__ and not hasattr(value, "__wrapped__"):
        walk.leave_gap(f"{name} finds {value.__qualname__} when it is called")
    if "<locals>" in value.__qualname__:
        return walk.refer(Found(value, full_name, found.is_brought))
    if _is_installed(value, walk):
        return full_name
    return walk.refer(Found(value, full_name))


def _is_installed(value: Any, walk: Walk) -> bool:
    """Whether a function or a class is not the program's own, though it may have taken over a name."""
    if not walk.home_of(value.__module__ or "").is_outside:
        return False
    if type(value) is types.FunctionType:
        return walk.home_of(defining_module(value)).is_outside
    return stands_in_its_module(value)


def refer_to_global(value: Any, name: str, walk: Walk) -> Hashable:
    """Refer to an object that was found by its name in a module."""
    return _refer(Found(value, name, is_global=True), walk, value, name)


def _opaque(found: Found, walk: Walk) -> Hashable:
    kind = type(found.value)
    if kind.__module__ == "dataclasses" and kind.__qualname__ in _SENTINELS:
        return None
    if found.is_brought:
        raise NotPortableError(f"it brings along a {kind.__qualname__}")
    walk.leave_gap(f"{found.name or 'what it refers to'} is a {kind.__qualname__}, which may change")
    return None


def _function(found: Found, walk: Walk) -> Hashable:
    func = found.value
    if is_ours(func):
        return _parts(found, walk, [getattr(func, "__wrapped__", None), chosen_key(func)])
    carried = _parts(found, walk, _carried(found)), _named(_itself(found), walk, attributes_of(func))
    if walk.home_of(defining_module(func)).is_outside:
        return func.__module__, func.__qualname__, carried
    names = names_in(func.__code__)
    walk.use(names)
    _check(func, names, walk)
    return (
        func.__qualname__,
        described(func.__code__),
        carried,
        _named(found, walk, annotated(func)),
        tuple(_global(func, name, walk) for name in names.used if name in func.__globals__),
        tuple(_imported(func, each, walk) for each in names.imports),
        _parts(found, walk, [class_around(func)]),
    )


def _itself(found: Found) -> Found:
    """A function as its attributes are found: its name says which one it is, unless it is local."""
    return found._replace(is_brought=found.is_brought and "<locals>" in found.value.__qualname__)


def _parts(found: Found, walk: Walk, values: Iterable[Any]) -> Hashable:
    return tuple(_refer(found, walk, value, found.name) for value in values)


def _named(found: Found, walk: Walk, values: Iterable[tuple[str, Any]]) -> Hashable:
    return tuple((name, _refer(found, walk, value, f"{found.name}.{name}")) for name, value in values)


def _carried(found: Found) -> Iterator[Any]:
    """What a function holds beside its code. Of a root the plain values are read at each look-up."""
    func = found.value
    for value in () if defining_module(func) in _GUARDS else carried(func):
        if is_code(value) or not found.is_root:
            yield value
    if not found.is_root and hasattr(func, "__wrapped__"):
        yield func.__wrapped__


def _check(func: Any, names: Names, walk: Walk) -> None:
    """Leave a gap where names do not say what is found by them."""
    module, here = defining_module(func), f"{func.__module__}.{func.__qualname__}"
    for name in names.set:
        walk.leave_gap(f"{module}.{name} is set while the program runs")
    for name in names.read:
        if name not in func.__globals__ and name not in func.__builtins__:
            walk.leave_gap(f"{module}.{name} is not there yet")
    for name in names.used:
        if name in _FIND_ANYTHING or (name in _READ_ANYTHING and name in names.read):
            walk.leave_gap(f"{here} may find anything by {name}")


def _global(func: Any, name: str, walk: Walk) -> Hashable:
    value, full_name = func.__globals__[name], f"{defining_module(func)}.{name}"
    return name, refer_to_global(value, full_name, walk)


def _imported(func: Any, each: Import, walk: Walk) -> Hashable:
    if each.level != 0 or walk.home_of(each.name).paths:
        walk.leave_gap(f"{func.__module__}.{func.__qualname__} imports {each.name or 'a module'}")
    return each.name


def _class(found: Found, walk: Walk) -> Hashable:
    kind = found.value
    if _is_installed(kind, walk):
        return kind.__module__, kind.__qualname__
    above = _parts(found, walk, (type(kind), *kind.__bases__))
    return kind.__qualname__, above, _named(found, walk, members_of_class(kind))


def _module(found: Found, walk: Walk) -> Hashable:
    members = members_of(found.value)
    name: str = members["__name__"]
    walk.look_into(found.value)
    if "__getattr__" in members:
        walk.leave_gap(f"{name} has a __getattr__")
    return name


def _c_function(found: Found, walk: Walk) -> Hashable:
    """A function written in C, of a module, or a method of a class or of an object."""
    func = found.value
    owner = getattr(func, "__objclass__", None) or func.__self__
    if owner is not None and not issubclass(type(owner), types.ModuleType):
        if has_full_name(owner):
            _refuse_own(owner.__module__, found, walk)
        return func.__name__, _parts(found, walk, [owner])
    _refuse_own(func.__module__, found, walk)
    return func.__module__, func.__qualname__


def _refuse_own(module: str, found: Found, walk: Walk) -> None:
    if not walk.home_of(module).is_outside:
        _opaque(found, walk)


def _partial(found: Found, walk: Walk) -> Hashable:
    made = found.value
    named = (*made.keywords.items(), *vars(made).items())
    return _parts(found, walk, [made.func, *made.args]), _named(found, walk, named)


def _is_of_types(value: Any) -> bool:
    """Whether a value is a type that is made of others, or stands for one. Chance decides if two are one."""
    kind = type(value)
    if kind in (types.GenericAlias, types.UnionType):
        return True
    return kind.__module__ == "typing" and not issubclass(kind, type)


def _typing(found: Found, walk: Walk) -> Hashable:
    value = found.value
    inner = [part for name in _MADE_OF_MANY for part in getattr(value, name, ())]
    inner += [getattr(value, name, None) for name in _MADE_OF_ONE]
    named = "" if hasattr(value, "__args__") else repr(value)
    return named, _parts(found, walk, inner)


def _made_of(*attributes: str) -> Describer:
    def describer(found: Found, walk: Walk) -> Hashable:
        return _parts(found, walk, [getattr(found.value, name) for name in attributes])

    return describer


_DESCRIBERS: dict[type, Describer] = {
    types.FunctionType: _function,
    types.ModuleType: _module,
    types.BuiltinFunctionType: _c_function,
    types.MethodDescriptorType: _c_function,
    types.WrapperDescriptorType: _c_function,
    types.ClassMethodDescriptorType: _c_function,
    types.MethodWrapperType: _c_function,
    types.MethodType: _made_of("__func__", "__self__"),
    staticmethod: _made_of("__func__"),
    classmethod: _made_of("__func__"),
    property: _made_of("fget", "fset", "fdel"),
    functools.cached_property: _made_of("func"),
    functools.partial: _partial,
    functools.partialmethod: _partial,
    type(functools.cache(len)): _made_of("__wrapped__"),
    tuple: lambda found, walk: _parts(found, walk, found.value),
    logging.Logger: lambda _, __: None,  # what is logged is no result
}
