"""A module's source with some of its imports moved into the functions that use them."""

from __future__ import annotations

import ast
import copy
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import CodeType

from codoperf_otel._imports.uses import (
    Function,
    ImportNode,
    Name,
    Statement,
    first_line,
    first_statement,
    lines_of,
)


@dataclass(slots=True)
class Moved:
    """The new source, and whose each line with a moved import is."""

    source: str = ""
    functions: dict[int, Function] = field(default_factory=dict)

    def compiled(self, file: str) -> CodeType:
        """Its code, in the place of a file's."""
        with warnings.catch_warnings(action="ignore"):  # the program has had those
            return compile(self.source, file, "exec", dont_inherit=True)


def move(source: str, statements: Iterable[tuple[Statement, list[Name]]]) -> Moved:
    """Move these names out of their statements, and import them where they are used.

    >>> from codoperf_otel._imports.uses import statements
    >>> source = "import json, csv\\ndef load(text):\\n    return json.loads(text)\\n"
    >>> (statement,) = statements(source)
    >>> print(move(source, [(statement, statement.names[:1])]).source, end="")
    import csv
    def load(text):
        import json
        return json.loads(text)
    """
    lines = lines_of(source)
    instead: dict[int, str] = {}
    before: dict[int, list[tuple[Function, str]]] = {}
    end = "\r\n" if lines[0].endswith("\r\n") else "\n"
    for statement, names in statements:
        instead |= _without(statement, names, lines)
        for function in _in_order(names):
            used = [name.alias for name in names if function in name.functions]
            line = first_line(first_statement(function))
            indent = _indent(lines[line - 1])
            text = f"{indent}{text_of(statement.node, used)}{end}"
            before.setdefault(line, []).append((function, text))
    return _put_together(lines, instead, before)


def _in_order(names: list[Name]) -> list[Function]:
    return list({id(function): function for name in names for function in name.functions}.values())


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _without(statement: Statement, names: list[Name], lines: list[str]) -> dict[int, str]:
    """What stands in the place of a statement's lines."""
    node, kept = statement.node, [name.alias for name in statement.names if name not in names]
    instead = dict.fromkeys(range(node.lineno, statement.last_line + 1), "")
    if kept:
        comment = lines[statement.last_line - 1].encode()[node.end_col_offset :].decode()
        instead[node.lineno] = f"{text_of(node, kept)}{comment}"
    return instead


def text_of(node: ImportNode, aliases: list[ast.alias]) -> str:
    """A statement that imports only these."""
    with_these = copy.copy(node)
    with_these.names = aliases
    return ast.unparse(with_these)


def _put_together(
    lines: list[str], instead: dict[int, str], before: dict[int, list[tuple[Function, str]]]
) -> Moved:
    moved, new = Moved(), []
    for number, line in enumerate(lines, 1):
        for function, text in before.get(number, ()):
            new.append(text)
            moved.functions[len(new)] = function
        kept = instead.get(number, line)
        if kept:
            new.append(kept)
    moved.source = "".join(new)
    return moved
