"""What pages and docstrings mention exists: names, variables, and the files that pages link to."""

from __future__ import annotations

import ast
import builtins
import importlib
import keyword
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import codoperf_otel

pytestmark = pytest.mark.once

PACKAGE = Path(codoperf_otel.__file__).parent
ROOT = Path(__file__).resolve().parent.parent
FOLDERS = (ROOT, ROOT / "docs", ROOT / "collector-config", ROOT / "dashboards")
PAGES = sorted(path for folder in FOLDERS for path in folder.glob("*.md"))
INSIDE = ("CONTRIBUTING.md", "docs/architecture.md", "docs/decisions.md")
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
    if path.stem != "__main__"
}
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}

DOTTED = re.compile(r"\bcodoperf_otel(?:\.[A-Za-z_]\w*)+")
VARIABLE = re.compile(r"\bCODOPERF_OTEL_[A-Z][A-Z_]*[A-Z]")
QUOTED = re.compile(r"(?<!`)`([A-Za-z_]\w*(?:\.\w+)*)`(?!`)")


def docstrings(tree: ast.AST) -> Iterator[str]:
    """The docstrings of a module and of all that is in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def words_of(tree: ast.AST) -> Iterator[str]:
    """The words that stand in code: names of things, of arguments, of attributes, and keys."""
    for node in ast.walk(tree):
        values = (getattr(node, field, None) for field in ("id", "attr", "arg", "name", "value"))
        yield from (value for value in values if isinstance(value, str))


WORDS = {word for tree in TREES.values() for word in words_of(tree)} | {*keyword.kwlist, *dir(builtins)}
VARIABLES = {word for word in WORDS if VARIABLE.fullmatch(word)}


CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def made_by(tree: ast.AST) -> Iterator[str]:
    """The names that code makes: imported, defined, assigned, or of its arguments."""
    for node in ast.walk(tree):
        if isinstance(node, ast.alias):
            yield (node.asname or node.name).partition(".")[0]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def found(name: str) -> bool:
    """Whether a dotted name can be imported, or is an attribute of what can be."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            thing = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            thing = getattr(thing, part, None)
        return thing is not None
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_names_on_a_page_exist(page):
    """Each `codoperf_otel.x` can be had, and so can what its examples import."""
    text = page.read_text()
    named = set(DOTTED.findall(text))
    for code in CODE.findall(text):
        imports = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)]
        named |= {
            f"{node.module}.{alias.name}"
            for node in imports
            if (node.module or "").startswith("codoperf_otel")
            for alias in node.names
        }
    assert {name for name in named if not found(name)} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_examples_on_a_page_can_be_copied(page):
    """An example uses only what it, or an example above it, imports or makes."""
    made = set(dir(builtins))
    for code in CODE.findall(page.read_text()):
        tree = ast.parse(code)
        made |= set(made_by(tree))
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert used - made == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_that_a_page_links_to_exist(page):
    """Each link to a file of the project leads somewhere."""
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_headings_that_a_page_links_to_exist(page):
    """Each link to a heading, of this page or another, leads to one."""
    links = re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text())
    assert [
        link for link in links if link[1] not in anchors(page.parent / link[0] if link[0] else page)
    ] == []


@pytest.mark.parametrize("page", INSIDE)
def test_sources_named_on_a_page_exist(page):
    """Each Python file and each folder that a page for contributors names is there."""
    named = set(re.findall(r"`((?:\w+/)*\w+\.py|(?:\w+/)+)`", (ROOT / page).read_text()))
    assert {name for name in named if not (ROOT / name).exists() and not [*PACKAGE.rglob(name)]} == set()


@pytest.mark.parametrize("module", MODULES)
def test_names_in_docstrings_exist(module):
    """A name in a docstring is one of its module, of the package or of the standard library."""
    text = "\n".join(docstrings(TREES[module]))
    assert {name for name in DOTTED.findall(text) if not found(name)} == set()
    quoted = set(QUOTED.findall(text)) - WORDS
    origins = (f"{module}.", "codoperf_otel.", "")
    assert {name for name in quoted if not any(found(origin + name) for origin in origins)} == set()


def test_variables_exist_and_are_documented():
    """The `CODOPERF_OTEL_*` of pages and docstrings are those that are read, and each is on a page."""
    on_pages = {name for page in PAGES for name in VARIABLE.findall(page.read_text())}
    texts = [text for tree in TREES.values() for text in docstrings(tree)]
    in_docstrings = {name for text in texts for name in VARIABLE.findall(text)}
    assert VARIABLES
    assert on_pages == VARIABLES
    assert in_docstrings <= VARIABLES


@pytest.mark.parametrize("name", ["codoperf_otel.configure", "codoperf_otel.logs.JsonFormatter", "logging"])
def test_what_exists_is_found(name):
    """What the tests above rely on: modules and what is in them, and nothing else."""
    assert found(name)
    assert not found(f"{name}.nothing")
