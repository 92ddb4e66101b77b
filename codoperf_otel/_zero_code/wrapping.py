"""Functions and methods of a module replaced by monitored ones, and put back."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator
from importlib.machinery import ExtensionFileLoader
from pathlib import PurePath
from types import FunctionType, ModuleType
from typing import Any

from codoperf_otel._calls.wrapping import is_wrapper
from codoperf_otel._once import OncePerKey
from codoperf_otel._patching.replacing import Replacement, namespace
from codoperf_otel._telemetry.interrupts import raise_interrupt
from codoperf_otel._zero_code.patterns import Patterns

log = logging.getLogger("codoperf_otel.monitoring")

_PACKAGE = __name__.partition(".")[0]
_is_first_failure = OncePerKey()


def replace_in(
    module: ModuleType, patterns: Patterns, monitor: Callable[[Any], Any], done: list[Replacement]
) -> None:
    """`monitor` what the patterns select in a module, and add it to `done`. What fails is logged once."""
    made: dict[int, Any] = {}  # one function may have several names
    module_name = namespace(module)["__name__"]
    for owner, name, member in _members(module, module_name):
        try:
            if not _select(patterns, module, _function(member)):
                continue
            if id(member) not in made:
                made[id(member)] = monitor(member)
            replacement = Replacement(owner, name, member, made[id(member)])
            done.append(replacement)
            replacement.put(replacement.replacement)
        except Exception as error:
            raise_interrupt(error)
            report_failure(f"{module_name}: {name}", error)


def report_failure(what: str, error: Exception) -> None:
    """Log what failed; the same failure once."""
    if _is_first_failure(repr(error)):
        log.warning("%s cannot be monitored and is left as it is", what, exc_info=error)


def _select(patterns: Patterns, module: ModuleType, function: Callable[..., Any]) -> bool:
    selected = [patterns.select(name, function.__qualname__) for name in names_of(module)]
    return any(selected) and not _is_monitored(function)


def names_of(module: ModuleType) -> tuple[str, ...]:
    """The names by which patterns know a module. The program itself has two: it can also be imported."""
    known = namespace(module)
    name = str(known.get("__name__"))
    if name != "__main__":
        return (name,)
    spec, file = known.get("__spec__"), known.get("__file__")
    imported_as = spec.name if spec is not None else PurePath(file).stem if file else name
    return (name, imported_as)


def is_compiled(module: ModuleType) -> bool:
    """Whether a module is a shared library: its functions belong to no namespace that can be changed."""
    return isinstance(getattr(namespace(module).get("__spec__"), "loader", None), ExtensionFileLoader)


def _members(owner: ModuleType | type, module: str, around: str = "") -> Iterator[tuple[Any, str, Any]]:
    """The functions and methods that are written in a module, by owner and name.

    Lambdas, functions that another function made, properties, cached functions and the methods of protocols
    are not among them.
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
    return is_wrapper(inspect.unwrap(function, stop=is_wrapper))
