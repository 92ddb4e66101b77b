"""Who uses what a module imports at its top: its functions only, or the module itself, by the syntax tree."""

from __future__ import annotations

import ast
import io
import symtable
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

Function = ast.FunctionDef | ast.AsyncFunctionDef
ImportNode = ast.Import | ast.ImportFrom


@dataclass(slots=True)
class Name:
    """What one import statement brings under one name."""

    alias: ast.alias
    functions: list[Function]
    """The outermost functions that use it; empty where nothing in the module does."""
    is_needed_at_once: bool
    """Whether something outside functions uses it, or may do so."""

    @property
    def bound(self) -> str:
        """The name in the module."""
        return self.alias.asname or self.alias.name.partition(".")[0]


@dataclass(slots=True)
class Statement:
    """An import statement at the top of a module."""

    node: ImportNode
    names: list[Name]

    @property
    def last_line(self) -> int:
        """It may have several lines."""
        return self.node.end_lineno or self.node.lineno


def lines_of(source: str) -> list[str]:
    """The lines as the parser counts them, each with its end."""
    return list(io.StringIO(source, newline=""))


def statements(source: str) -> list[Statement]:
    """The import statements at the top of a module; those in an `if` or `try` have a reason to be there.

    Raises:
        SyntaxError, RecursionError: the source is no Python, or too deep.

    >>> source = "import json, csv\\ndef f():\\n    json.loads('1')\\ncsv.reader([])\\n"
    >>> json, csv = statements(source)[0].names
    >>> [function.name for function in json.functions], json.is_needed_at_once
    (['f'], False)
    >>> csv.functions, csv.is_needed_at_once
    ([], True)
    """
    module = _Module(source)
    return [
        Statement(node, [module.name(alias, node) for alias in node.names])
        for node in module.tree.body
        if isinstance(node, ImportNode) and _module_name(node) != "__future__"
    ]


class _Module:
    """What is in a source, and who uses which name."""

    def __init__(self, source: str) -> None:
        self.tree = ast.parse(source)
        self._lines = lines_of(source)
        outside = list(_outside_functions(self.tree))
        self._at_once = {name for node in outside for name in _names(node)}
        conditional = [
            node for node in outside if isinstance(node, ImportNode) and node not in self.tree.body
        ]
        self._defined = {node.name for node in self.tree.body if isinstance(node, Function | ast.ClassDef)}
        self._defined.update(*map(_bound, conditional))
        globals_of = _globals_of_functions(symtable.symtable(source, "", "exec"))
        self._functions = [
            (function, globals_of[function.name, function.lineno]) for function in _functions(self.tree)
        ]

    def name(self, alias: ast.alias, node: ImportNode) -> Name:
        name = Name(alias, [], is_needed_at_once=False)
        name.functions = [function for function, used in self._functions if name.bound in used]
        name.is_needed_at_once = (
            name.bound in self._at_once
            or name.bound.startswith(("*", "__"))
            or not self._stands_alone(node)
            or not all(self._has_room(function) for function in name.functions)
            or self._is_bound_otherwise(name.bound, node)
        )
        return name

    def _is_bound_otherwise(self, name: str, node: ImportNode) -> bool:
        """Whether another statement binds it; ``import a.b`` and ``import a.c`` go together."""
        others = [
            other
            for other in self.tree.body
            if isinstance(other, ImportNode) and other is not node and name in _bound(other)
        ]
        return name in self._defined or any(
            isinstance(one, ast.ImportFrom) or name in {alias.asname for alias in one.names}
            for one in ([node, *others] if others else ())
        )

    def _stands_alone(self, node: ImportNode) -> bool:
        """Whether nothing else is on its lines, but for a comment."""
        last = self._lines[(node.end_lineno or node.lineno) - 1].encode()
        after = last[node.end_col_offset or 0 :].decode().strip()
        return node.col_offset == 0 and (not after or after.startswith("#"))

    def _has_room(self, function: Function) -> bool:
        """Whether a line can stand before the function's first statement."""
        first = first_statement(function)
        return not self._lines[first_line(first) - 1].encode()[: first.col_offset].strip()


def first_statement(function: Function) -> ast.stmt:
    """The first one after the docstring."""
    return function.body[
        1 if ast.get_docstring(function, clean=False) is not None and function.body[1:] else 0
    ]


def first_line(statement: ast.stmt) -> int:
    """The line it begins in, with its decorators."""
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(decorator.lineno for decorator in decorators)])


def _module_name(node: ImportNode) -> str | None:
    return node.module if isinstance(node, ast.ImportFrom) else None


def _bound(node: ImportNode) -> set[str]:
    return {alias.asname or alias.name.partition(".")[0] for alias in node.names}


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when the module is imported. A lambda has no place for a statement and counts as such."""
    yield node
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return  # a docstring
    for field, value in ast.iter_fields(node):
        if isinstance(node, Function) and field == "body":
            yield from (inner for one in value for inner in ast.walk(one) if isinstance(inner, ast.Global))
            continue
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, ast.AST):
                yield from _outside_functions(_read(inner) if field in {"annotation", "returns"} else inner)


def _read(annotation: ast.AST) -> ast.AST:
    """An annotation with what its texts stand for."""
    for text in ast.walk(annotation):
        if isinstance(text, ast.Constant) and isinstance(text.value, str):
            with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
                text.value = ast.parse(text.value, mode="eval")  # type: ignore[assignment]
    return annotation


def _names(node: ast.AST) -> list[str]:
    """The names in a node itself; a text may be one, as in ``__all__``."""
    match node:
        case ast.Name(id=name) | ast.Constant(value=str() as name):
            return [name]
        case ast.Global(names=names):
            return names
    return []


def _functions(node: ast.AST) -> Iterator[Function]:
    """The functions that are in no other."""
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, Function):
            yield inner
        else:
            yield from _functions(inner)


def _globals_of_functions(table: symtable.SymbolTable) -> dict[tuple[str, int], set[str]]:
    """The global names that each function uses, with those inside it, by its name and line."""
    found: dict[tuple[str, int], set[str]] = {}
    for inner in table.get_children():
        if isinstance(inner, symtable.Function):
            found[inner.get_name(), inner.get_lineno()] = _globals_in(inner)
        found |= _globals_of_functions(inner)
    return found


def _globals_in(table: symtable.SymbolTable) -> set[str]:
    own = {
        symbol.get_name() for symbol in table.get_symbols() if symbol.is_global() and symbol.is_referenced()
    }
    return own.union(*map(_globals_in, table.get_children()))
