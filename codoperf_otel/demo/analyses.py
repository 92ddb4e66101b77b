"""What is found out about one file: its functions, and what the compiler says."""

from __future__ import annotations

import ast
import hashlib
import json
import subprocess
import sys
from typing import Literal, TypedDict

_FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
_DECISIONS = ast.If | ast.IfExp | ast.For | ast.AsyncFor | ast.While | ast.ExceptHandler

_LINTER = """
import json, sys, warnings
problems = []
with warnings.catch_warnings(record=True, action="always") as warned:
    try:
        compile(sys.stdin.buffer.read(), "source.py", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        problems.append((getattr(error, "lineno", 1), type(error), getattr(error, "msg", error), "syntax"))
problems += ((each.lineno, each.category, each.message, "lint") for each in warned)
print(json.dumps([
    {"kind": kind, "line": max(line or 1, 1), "message": f"{error.__name__}: {message}"}
    for line, error, message, kind in problems
]))
"""


class Measured(TypedDict):
    """A function, its lines and its cyclomatic complexity; functions of one ``digest`` have the same code."""

    name: str
    line: int
    last_line: int
    complexity: int
    digest: str


class Function(Measured):
    """A function, and the file that it is in."""

    path: str


def measure_functions(tree: ast.Module) -> list[Measured]:
    """Every function of a module in the order of the source, a nested one on its own.

    As McCabe defined it, complexity is one more than the decisions: ``if``, ``elif``, ``for``, ``while``,
    ``except``, a conditional expression, each operand of ``and`` and ``or`` after the first, each ``for`` and
    ``if`` of a comprehension, and each ``case`` but a bare ``case _``.
    """
    found: list[Measured] = []
    waiting: list[tuple[ast.AST, str, Measured | None]] = [(tree, "", None)]
    while waiting:
        node, scope, function = waiting.pop()
        if isinstance(node, _FUNCTIONS):
            function = _measured(node, scope)
            found.append(function)
        elif function is not None:
            function["complexity"] += _decisions(node)
        if isinstance(node, _FUNCTIONS | ast.ClassDef):
            scope += f"{node.name}."
        waiting.extend((child, scope, function) for child in ast.iter_child_nodes(node))
    return sorted(found, key=lambda function: function["line"])


def _measured(node: ast.FunctionDef | ast.AsyncFunctionDef, scope: str) -> Measured:
    code = "".join(map(ast.dump, [node.args, *node.body])).encode(errors="surrogatepass")
    digest = hashlib.blake2b(code, digest_size=8).hexdigest()
    last = node.end_lineno or node.lineno
    return Measured(name=scope + node.name, line=node.lineno, last_line=last, complexity=1, digest=digest)


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


class Problem(TypedDict):
    """What the compiler says about a line; an error is one of syntax, a warning one of lint."""

    kind: Literal["syntax", "lint"]
    line: int
    message: str


def lint(content: bytes) -> list[Problem]:
    """The errors and warnings of a file of this content.

    Raises:
        OSError, SubprocessError: the compiler cannot be started, or takes longer than a minute.
    """
    command = [sys.executable, "-I", "-c", _LINTER]
    ended = subprocess.run(command, input=content, capture_output=True, timeout=60)
    if ended.returncode:  # nested so deep that the compiler itself fails
        return [Problem(kind="syntax", line=1, message=f"the compiler ended with status {ended.returncode}")]
    problems: list[Problem] = json.loads(ended.stdout)
    return problems
