"""What can be read from the code of a function without running it."""

from __future__ import annotations

from collections.abc import Iterator
from opcode import EXTENDED_ARG, opmap
from types import CodeType
from typing import Any, NamedTuple

_IMPORT = opmap["IMPORT_NAME"]
_LOAD_GLOBAL = opmap["LOAD_GLOBAL"]
_STORE_GLOBAL = opmap["STORE_GLOBAL"]
_CONSTANT = opmap["LOAD_CONST"]
_SMALL_NUMBER = opmap.get("LOAD_SMALL_INT")  # from Python 3.14 on


class Import(NamedTuple):
    """An import statement in a function; `level` as `__import__` takes it, None where it cannot be read."""

    name: str
    level: int | None


class Names(NamedTuple):
    """The names in a code object and in those nested in it, in the order of the code."""

    used: tuple[str, ...]
    """Of globals, attributes and imports alike."""
    read: tuple[str, ...]
    """The globals that it reads."""
    set: tuple[str, ...]
    """The globals that it sets."""
    imports: tuple[Import, ...]


def described(code: CodeType) -> str:
    """All of a code object that decides what it does; no address, file or line."""
    return repr(
        (
            code.co_code,
            code.co_exceptiontable,
            code.co_names,
            code.co_varnames,
            code.co_freevars,
            code.co_cellvars,
            code.co_flags,
            code.co_argcount,
            code.co_posonlyargcount,
            code.co_kwonlyargcount,
            tuple(map(_constant, code.co_consts)),
        )
    )


def _constant(value: Any) -> tuple[Any, ...]:
    """A constant, so that its `repr` tells its type, and is the same in every process."""
    if isinstance(value, CodeType):
        return "code", described(value)
    if isinstance(value, frozenset):
        return "set", sorted(repr(_constant(item)) for item in value)
    return ("tuple", *map(_constant, value)) if isinstance(value, tuple) else (value,)


def names_in(code: CodeType) -> Names:
    """The names in a code object and in those nested in it."""
    codes = list(_with_nested(code))
    return Names(
        _distinct(name for each in codes for name in each.co_names),
        _distinct(each.co_names[arg >> 1] for each in codes for _, arg in _uses(each, _LOAD_GLOBAL)),
        _distinct(each.co_names[arg] for each in codes for _, arg in _uses(each, _STORE_GLOBAL)),
        tuple(
            Import(each.co_names[arg], _level(each, at)) for each in codes for at, arg in _uses(each, _IMPORT)
        ),
    )


def _distinct(names: Iterator[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _with_nested(code: CodeType) -> Iterator[CodeType]:
    codes = [code]
    while codes:
        each = codes.pop()
        yield each
        codes.extend(constant for constant in each.co_consts if isinstance(constant, CodeType))


def _uses(code: CodeType, operation: int) -> Iterator[tuple[int, int]]:
    """Where in the code an operation stands, counted in instructions, and its argument."""
    operations, arguments = code.co_code[::2], code.co_code[1::2]
    at = operations.find(operation)
    while at >= 0:
        higher = arguments[at - 1] << 8 if at and operations[at - 1] == EXTENDED_ARG else 0
        yield at, higher | arguments[at]
        at = operations.find(operation, at + 1)


def _level(code: CodeType, at: int) -> int | None:
    """The level of an import: what is loaded two instructions before it."""
    operation, argument = code.co_code[2 * at - 4 : 2 * at - 2]
    if operation == _SMALL_NUMBER:
        return argument
    return code.co_consts[argument] if operation == _CONSTANT else None
