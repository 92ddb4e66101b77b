"""Cyclomatic complexity as McCabe defined it: the decisions of a function, and one."""

from __future__ import annotations

import ast
from typing import TypedDict


class Measured(TypedDict):
    """A function, the line of its ``def``, and its complexity."""

    name: str
    line: int
    complexity: int


_FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
_DECISIONS = ast.If | ast.IfExp | ast.For | ast.AsyncFor | ast.While | ast.ExceptHandler


def measure(tree: ast.Module) -> list[Measured]:
    """Every function of a module in the order of the source, a nested one on its own.

    Decisions are ``if``, ``elif``, ``for``, ``while``, ``except``, a conditional expression, each operand of
    ``and`` and ``or`` after the first, each ``for`` and ``if`` of a comprehension, and each ``case`` but a
    bare ``case _``.

    >>> measure(ast.parse("def sign(x):\\n    return -1 if x < 0 else x and 1"))
    [{'name': 'sign', 'line': 1, 'complexity': 3}]
    """
    found: list[Measured] = []
    waiting: list[tuple[ast.AST, str, Measured | None]] = [(tree, "", None)]
    while waiting:
        node, scope, function = waiting.pop()
        if isinstance(node, _FUNCTIONS):
            function = Measured(name=scope + node.name, line=node.lineno, complexity=1)
            found.append(function)
        elif function is not None:
            function["complexity"] += _decisions(node)
        if isinstance(node, _FUNCTIONS | ast.ClassDef):
            scope += f"{node.name}."
        waiting.extend((child, scope, function) for child in ast.iter_child_nodes(node))
    return sorted(found, key=lambda function: function["line"])


def _decisions(node: ast.AST) -> int:
    match node:
        case ast.BoolOp():
            return len(node.values) - 1
        case ast.comprehension():
            return 1 + len(node.ifs)
        case ast.match_case(pattern=ast.MatchAs(pattern=None, name=None), guard=None):
            return 0
        case ast.match_case():
            return 1
    return int(isinstance(node, _DECISIONS))
