"""Who uses what a module imports at its top: its functions only, or the module itself, by the syntax tree."""

from __future__ import annotations

import ast
import io
import re
import symtable
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

Function = ast.FunctionDef | ast.AsyncFunctionDef
ImportNode = ast.Import | ast.ImportFrom

_BLOCKS: dict[type[ast.AST], str] = {
    ast.Try: "a try",
    ast.TryStar: "a try",
    ast.If: "an if",
    ast.With: "a with",
    ast.For: "a loop",
    ast.While: "a loop",
    ast.Match: "a match",
    ast.ClassDef: "a class",
}
_EVALUATING = {"eval", "exec", "globals"}


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
    """An import statement outside functions."""

    node: ImportNode
    names: list[Name]
    block: str | None
    """What it is in, such as *a try*; None at the top of the module."""

    @property
    def last_line(self) -> int:
        """It may have several lines."""
        return self.node.end_lineno or self.node.lineno


def lines_of(source: str) -> list[str]:
    """The lines as the parser counts them, each with its end."""
    return list(io.StringIO(source, newline=""))


def statements(source: str) -> list[Statement]:
    """The import statements of a module that are in no function.

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
        Statement(node, [module.name(alias, node, block) for alias in node.names], block)
        for node, block in module.imports
        if _module_name(node) != "__future__"
    ]


class _Module:
    """What is in a source, and who uses which name."""

    def __init__(self, source: str) -> None:
        self.tree = ast.parse(source)
        self.imports = list(_imports(self.tree))
        self._lines = lines_of(source)
        table = symtable.symtable(source, "", "exec")
        outside = list(_outside_functions(self.tree))
        self._at_once = {name for node in outside for name in _read(node)}
        self._at_once |= _words_of_code(self.tree) | _read_in_classes(table)
        self._defined = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned()}
        self._defined.update(*(_bound(node) for node, block in self.imports if block is not None))
        globals_of = _globals_of_functions(table)
        self._functions = [
            (function, globals_of[function.name, function.lineno]) for function in _functions(self.tree)
        ]

    def name(self, alias: ast.alias, node: ImportNode, block: str | None) -> Name:
        name = Name(alias, [], is_needed_at_once=False)
        name.functions = [function for function, used in self._functions if name.bound in used]
        name.is_needed_at_once = (
            name.bound in self._at_once
            or name.bound.startswith(("*", "__"))
            or alias.asname == alias.name  # by convention, others take it from here
            or (block is None and not self._can_be_moved(name, node))
        )
        return name

    def _can_be_moved(self, name: Name, node: ImportNode) -> bool:
        return (
            self._stands_alone(node)
            and all(self._has_room(function) for function in name.functions)
            and not self._is_bound_otherwise(name.bound, node)
        )

    def _is_bound_otherwise(self, name: str, node: ImportNode) -> bool:
        """Whether another statement binds it; ``import a.b`` and ``import a.c`` go together."""
        others = [other for other, _ in self.imports if other is not node and name in _bound(other)]
        return name in self._defined or any(
            isinstance(one, ast.ImportFrom) or name in {alias.asname for alias in one.names}
            for one in ([node, *others] if others else ())
        )

    def _stands_alone(self, node: ImportNode) -> bool:
        """Whether nothing else is on its lines, but for a comment."""
        last = self._lines[(node.end_lineno or node.lineno) - 1].encode()
        after = last[node.end_col_offset or 0 :].decode().strip()
        return self._begins_its_line(node) and node.col_offset == 0 and (not after or after.startswith("#"))

    def _has_room(self, function: Function) -> bool:
        """Whether an import can stand before its first statement; while the interpreter ends, none can."""
        return function.name != "__del__" and self._begins_its_line(first_statement(function))

    def _begins_its_line(self, statement: ast.stmt) -> bool:
        line = first_line(statement)
        is_continued = line > 1 and self._lines[line - 2].rstrip("\r\n").endswith("\\")
        return not is_continued and not self._lines[line - 1].encode()[: statement.col_offset].strip()


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


def _imports(node: ast.AST, block: str | None = None) -> Iterator[tuple[ImportNode, str | None]]:
    """The imports outside functions, each with the block that it is in."""
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, ImportNode):
            yield inner, block
        elif not isinstance(inner, Function):
            yield from _imports(inner, _BLOCKS.get(type(inner), block))


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when the module is imported. A lambda has no place for a statement and counts as such."""
    yield node
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return  # a docstring
    for field, value in ast.iter_fields(node):
        if isinstance(node, Function) and field == "body":
            yield from (part for inner in value for one in ast.walk(inner) for part in _read_outside(one))
            continue
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, ast.AST):
                yield from _outside_functions(inner)


def _read_outside(node: ast.AST) -> Iterator[ast.AST]:
    """What is read in the module though it is in a function: globals, and annotations that tools resolve."""
    match node:
        case ast.Global():
            yield node
        case ast.arg(annotation=ast.expr() as annotation):
            yield from ast.walk(annotation)
        case (
            ast.FunctionDef(returns=ast.expr() as returned)
            | ast.AsyncFunctionDef(returns=ast.expr() as returned)
        ):
            yield from ast.walk(returned)
        case ast.ClassDef(body=body):
            yield from (
                part for one in body if isinstance(one, ast.AnnAssign) for part in ast.walk(one.annotation)
            )


def _read(node: ast.AST) -> Iterator[str]:
    """The names that a node itself may read; a text may be an annotation, or a name in ``__all__``."""
    match node:
        case ast.Name(id=name, ctx=ast.Load() | ast.Del()):
            yield name
        case ast.Global(names=names):
            yield from names
        case ast.Constant(value=str() as text):
            with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
                yield from (name for part in ast.walk(ast.parse(text, mode="eval")) for name in _read(part))


def _words_of_code(tree: ast.Module) -> set[str]:
    """The words of texts that may run: examples for doctest, and all where the module evaluates some."""
    nodes = list(ast.walk(tree))
    evaluates = any(isinstance(node, ast.Name) and node.id in _EVALUATING for node in nodes)
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return {word for text in texts if evaluates or ">>>" in text for word in re.findall(r"\w+", text)}


def _read_in_classes(table: symtable.SymbolTable) -> set[str]:
    """The names that a class both binds and reads: it looks for them in the module, not in functions."""
    is_class = table.get_type() == "class"
    own = {
        one.get_name() for one in table.get_symbols() if is_class and one.is_local() and one.is_referenced()
    }
    return own.union(*map(_read_in_classes, table.get_children()))


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
        symbol.get_name()
        for symbol in table.get_symbols()
        # in a function that is called top, symtable takes locals for globals, too
        if symbol.is_global() and symbol.is_referenced() and not symbol.is_local()
    }
    return own.union(*map(_globals_in, table.get_children()))
