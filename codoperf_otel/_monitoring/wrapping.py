"""Functions and methods of a module replaced by monitored ones, and put back."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePath
from types import FunctionType, ModuleType
from typing import Any, NamedTuple, cast

from codoperf_otel._monitoring.patterns import Patterns
from codoperf_otel.performance_monitor import monitor_performance

log = logging.getLogger("codoperf_otel.monitoring")

_PACKAGE = __name__.partition(".")[0]
_told: set[str] = set()


class Replacement(NamedTuple):
    """A name of a module or class under which a monitored function stands in the place of its original."""

    owner: ModuleType | type
    name: str
    original: Any
    monitored: Any

    @property
    def holds(self) -> bool:
        """False once someone else has set the name."""
        return namespace(self.owner).get(self.name) is self.monitored

    def put(self, value: Any) -> None:
        """Set the name, past what a metaclass or the class of a module does at that."""
        if isinstance(self.owner, type):
            type.__setattr__(self.owner, self.name, value)
        else:
            namespace(self.owner)[self.name] = value


def replace_in(module: ModuleType, patterns: Patterns) -> list[Replacement]:
    """Monitor what the patterns select of a module; what cannot be is left as it is, and told once."""
    done: list[Replacement] = []
    made: dict[int, Any] = {}  # one function may have several names
    module_name = namespace(module)["__name__"]
    for owner, name, member in _members(module, module_name):
        try:
            if not _select(patterns, module, _function(member)):
                continue
            if id(member) not in made:
                made[id(member)] = monitor_performance()(member)
            replacement = Replacement(owner, name, member, made[id(member)])
            replacement.put(replacement.monitored)
            done.append(replacement)
        except Exception as error:
            tell(f"{module_name}: {name}", error)
    return done


def tell(what: str, error: Exception) -> None:
    """Log what failed; the same failure once."""
    if repr(error) not in _told:
        _told.add(repr(error))
        log.warning("%s cannot be monitored and is left as it is", what, exc_info=error)


def _select(patterns: Patterns, module: ModuleType, function: Callable[..., Any]) -> bool:
    selected = [patterns.select(name, function.__qualname__) for name in names_of(module)]
    return any(selected) and not _is_monitored(function)


def names_of(module: ModuleType) -> tuple[str, ...]:
    """The names that patterns know a module by: the program itself also by the one it is imported by."""
    known = namespace(module)
    name = str(known.get("__name__"))
    if name != "__main__":
        return (name,)
    spec, file = known.get("__spec__"), known.get("__file__")
    imported_as = spec.name if spec is not None else PurePath(file).stem if file else name
    return (name, imported_as)


def replace_imported(replacements: Iterable[Replacement]) -> None:
    """Let the loaded modules that have imported a function by its name have the monitored one."""
    _rename({id(r.original): r.monitored for r in replacements if not isinstance(r.owner, type)})


def restore(replacements: Iterable[Replacement]) -> None:
    """Put the originals back, wherever a module has the monitored one."""
    replacements = list(replacements)
    for replacement in replacements:
        if replacement.holds:
            replacement.put(replacement.original)
    _rename({id(r.monitored): r.original for r in replacements if not isinstance(r.owner, type)})


def _rename(new: dict[int, Any]) -> None:
    for module in loaded_modules():
        known = namespace(module)
        for name, value in list(known.items()):
            if id(value) in new:
                known[name] = new[id(value)]


def namespace(owner: ModuleType | type) -> dict[str, Any]:
    """What a module or a class holds; `importlib.util.LazyLoader` is not made to load it."""
    held = ModuleType.__getattribute__(owner, "__dict__") if isinstance(owner, ModuleType) else vars(owner)
    return cast("dict[str, Any]", held)


def loaded_modules() -> Iterable[ModuleType]:
    """Each loaded module once."""
    modules: list[object] = list(sys.modules.values())
    return {id(module): module for module in modules if isinstance(module, ModuleType)}.values()


def _members(owner: ModuleType | type, module: str, around: str = "") -> Iterator[tuple[Any, str, Any]]:
    """The functions and methods that are written in a module, by owner and name.

    Lambdas, functions that another function made, what an object keeps (properties, cached functions) and
    the methods of protocols are not among them.
    """
    for name, member in list(namespace(owner).items()):
        function = _function(member)
        if not isinstance(function, FunctionType | type) or not _is_written_in(module, around, function):
            continue
        if isinstance(function, FunctionType):
            yield owner, name, member
        elif function is member and not getattr(function, "_is_protocol", False):
            yield from _members(function, module, function.__qualname__)


def _function(member: Any) -> Any:
    return member.__func__ if type(member) in (classmethod, staticmethod) else member


def _is_written_in(module: str, around: str, member: FunctionType | type) -> bool:
    outer, _, name = member.__qualname__.rpartition(".")
    return member.__module__ == module and outer == around and not name.startswith("<")


def _is_monitored(function: Callable[..., Any]) -> bool:
    return _is_ours(inspect.unwrap(function, stop=_is_ours))


def _is_ours(function: Any) -> bool:
    """Whether the code of a function is this package's, so that it is a decorated one."""
    name = getattr(function, "__globals__", {}).get("__name__")
    return str(name).partition(".")[0] == _PACKAGE
