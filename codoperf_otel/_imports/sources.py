"""The files of a program that its author can change, and what they take from each other."""

from __future__ import annotations

import ast
import os
import sysconfig
import tokenize
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from codoperf_otel._imports.costs import Import
from codoperf_otel._imports.uses import ImportNode, Name, Statement, statements

_INSTALLED = {"site-packages", "dist-packages"}
_STANDARD_LIBRARY = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))


@dataclass(slots=True)
class Source:
    """A file of the program."""

    file: str
    module: str | None
    """None for the program itself, which is no import."""
    package: str | None
    text: str
    encoding: str
    statements: list[Statement]
    takes: set[tuple[str, str]] = field(default_factory=set)
    """The last part of another module's name, and a name in it."""

    @property
    def path(self) -> Path:
        """The file's path from the root."""
        return Path(os.path.normpath(Path(self.file).absolute()))

    def modules(self, node: ImportNode) -> list[str]:
        """All that a statement imports, if it is there."""
        if isinstance(node, ast.Import):
            return [alias.name for alias in node.names]
        module = node.module or ""
        if node.level:
            around = (self.package or "").split(".")
            module = ".".join(filter(None, [*around[: len(around) - node.level + 1], module]))
        return [module, *(f"{module}.{alias.name}" for alias in node.names)]

    def is_needed_at_once(self, statement: Statement, name: Name, others: Iterable[Source]) -> bool:
        """Whether the module itself, or another one, uses a name, or may do so."""
        path = Path(self.file)
        is_package = path.stem == "__init__"
        last = path.parent.name if is_package else path.stem
        taken = {(module, attribute) for module in (last, "") for attribute in (name.bound, "*")}
        return (
            name.is_needed_at_once
            or (is_package and self._offers(statement, name))
            or any(taken & other.takes for other in others if other is not self)
        )

    def _offers(self, statement: Statement, name: Name) -> bool:
        """Whether a package brings one of its own names, for others to use."""
        top = (self.module or "").partition(".")[0]
        is_its_own = self.modules(statement.node)[0].partition(".")[0] == top
        return is_its_own and not name.bound.startswith("_")


def sources(roots: Iterable[Import], package: str | None) -> list[Source]:
    """The program's own files: what is neither installed nor of the standard library, and the package."""
    every = [one for root in roots for one in root.with_inner()]
    names = {one.file: one.name for one in every if one.file is not None}
    files = {file: None for one in every for file in (one.asked_file, one.file) if file is not None}
    folder = next((Path(file).parent for file, name in names.items() if name == package), None)
    return [
        source for file in files if _is_own(Path(file).absolute(), folder) for source in _read(file, names)
    ]


def _is_own(path: Path, package: Path | None) -> bool:
    if package is not None and path.is_relative_to(package):
        return True
    is_installed = _INSTALLED & set(path.parts) or any(map(path.is_relative_to, _STANDARD_LIBRARY))
    return path.suffix == ".py" and not is_installed


def _read(file: str, names: dict[str, str]) -> Iterator[Source]:
    """The source, unless it cannot be read."""
    package = names.get(str(Path(file).parent / "__init__.py"))
    try:
        with open(file, "rb") as raw:  # noqa: PTH123
            encoding, _ = tokenize.detect_encoding(raw.readline)
        with open(file, encoding=encoding, newline="") as opened:  # noqa: PTH123
            text = opened.read()
        with warnings.catch_warnings(action="ignore"):  # the program has had those
            found, takes = statements(text), set(_takes(ast.parse(text)))
    except (OSError, SyntaxError, ValueError, RecursionError):
        return
    yield Source(file, names.get(file), package, text, encoding, found, takes)


def _takes(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """What a module uses of others: by ``from other import name`` and by ``other.name``."""
    nodes = list(ast.walk(tree))
    imports = [node for node in nodes if isinstance(node, ImportNode)]
    known_as = {
        alias.asname: alias.name.rpartition(".")[2]
        for node in imports
        for alias in node.names
        if alias.asname
    }
    for node in nodes:
        match node:
            case ast.ImportFrom(module=module, names=aliases):
                yield from (((module or "").rpartition(".")[2], alias.name) for alias in aliases)
            case ast.Attribute(value=ast.Name(id=other), attr=name):
                yield known_as.get(other, other), name
            case ast.Attribute(value=ast.Attribute(attr=other), attr=name):
                yield other, name
