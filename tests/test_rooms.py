"""The structure: imports go one way, rooms and modules stay small, and the core needs the API alone."""

from __future__ import annotations

import ast
import importlib
import logging
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest

import codoperf_otel

pytestmark = pytest.mark.once

PACKAGE = Path(codoperf_otel.__file__).parent
PUBLIC = (
    "performance_monitor",
    "system_monitor",
    "cache_manager",
    "lazy_loader",
    "resource_tracker",
    "agents",
    "agent_reports",
    "budgets",
    "instrumentation",
)

# what a room may import: rooms of its own floor and of those below
FLOORS = (
    ("cli",),
    ("sdk", "demo", "mcp"),
    ("__init__",),
    (*PUBLIC, "_frameworks", "_zero_code", "logs", "testing"),
    ("_decorating",),
    ("_live",),
    ("_calls", "_cache", "_children", "_imports", "_patching", "_report", "_workers"),
    ("_statistics", "_readings"),
    ("_telemetry",),
    ("__about__", "_captured", "_environment_variables", "_forks", "_once", "_ownership"),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# the doors: rooms that are reached from a floor above their own, each inside a function only
DOORS = {
    ("__init__", "sdk"): "configure and shutdown, through the facade's __getattr__",
    ("testing", "sdk"): "the recorder",
    ("instrumentation", "sdk"): "lean spans",
}

# what is still to be mended: an entry goes with the circle, or the name
STANDING_CIRCLES: set[frozenset[str]] = set()
NOT_OFFERED = {
    "instrumentation": {"InstrumentorConfiguration"},  # which a configuration file is read into
}

MOST_LINES = 300
MOST_STATEMENT_LINES = 40  # of one function, without signature and docstring
MEDIAN_LINES = 6
# each call of a helper would cost the program a frame, or time
INLINED_BY_HAND = {"_calls/drive_functions", "_calls/drive_coroutines", "_calls/drive_generators"}
MOST_PRIVATE_MODULES = 6
MOST_PRIVATE_LINES = 150

FILES = {
    path.relative_to(PACKAGE).with_suffix("").as_posix().removesuffix("/__init__"): path
    for path in PACKAGE.rglob("*.py")
}
TREES = {name: ast.parse(path.read_text()) for name, path in FILES.items()}


def file_of(dotted: str) -> str | None:
    """The file of a module of this package."""
    package, _, inner = dotted.partition(".")
    name = inner.replace(".", "/") or "__init__"
    return name if package == PACKAGE.name and name in FILES else None


def imported_by(node: ast.AST) -> Iterator[str]:
    """The files of this package that a statement imports from, if it is an import."""
    if isinstance(node, ast.ImportFrom):
        assert not node.level, "relative imports are not read here"
        for alias in node.names:
            module = node.module or ""
            yield from filter(None, [file_of(f"{module}.{alias.name}") or file_of(module)])
    elif isinstance(node, ast.Import):
        yield from filter(None, [file_of(alias.name) for alias in node.names])


def imports_of(tree: ast.AST) -> set[str]:
    """The files of this package that a tree imports, wherever in it."""
    return {name for node in ast.walk(tree) for name in imported_by(node)}


def rooms_of(names: set[str]) -> set[str]:
    """The rooms that files stand in."""
    return {name.split("/")[0] for name in names}


GRAPH = {name: imports_of(tree) - {name} for name, tree in TREES.items()}


def test_imports_go_down_only():
    """No room imports one from a floor above its own, but for the doors."""
    for name, imported in GRAPH.items():
        room = name.split("/")[0]
        for other in rooms_of(imported) - {room}:
            assert FLOOR[other] >= FLOOR[room] or (room, other) in DOORS, f"{name}: {other}"


PAGE = Path(__file__).resolve().parent.parent / "docs" / "architecture.md"
SECTION = PAGE.read_text(encoding="utf-8").partition("## Rooms\n")[2].partition("\n## ")[0]
SHOWN = {
    "drawing": re.findall(r"│ (\w+/?) │", SECTION),
    "table": re.findall(r"^\| `(\w+/?)` \|", SECTION, re.MULTILINE),
}


@pytest.mark.parametrize("where", SHOWN)
def test_the_page_shows_each_room_on_its_floor(where):
    """The drawing and the table of docs/architecture.md have each room once, floor by floor, as it is."""
    rooms = [name.removesuffix("/") for name in SHOWN[where]]
    assert sorted(rooms) == sorted(FLOOR)
    assert rooms == sorted(rooms, key=FLOOR.__getitem__)
    assert all((PACKAGE / name).is_dir() == name.endswith("/") for name in SHOWN[where])


def is_for_types(node: ast.AST) -> bool:
    """Whether a statement is what only a type checker runs."""
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    """What is run when a module is imported."""
    yield node
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not is_for_types(node):
        for inner in ast.iter_child_nodes(node):
            yield from outside_functions(inner)


@pytest.mark.parametrize(("room", "other"), DOORS)
def test_doors_are_inside_functions(room, other):
    """What is reached through a door is imported when a function is called, not before."""
    assert other in rooms_of(GRAPH[room])
    at_import = {name for node in outside_functions(TREES[room]) for name in imported_by(node)}
    assert other not in rooms_of(at_import)


def reached(graph: dict[str, set[str]], beginning: str) -> set[str]:
    """All files that a file imports, and those that these import, and so on."""
    found: set[str] = set()
    new = graph[beginning]
    while new:
        found |= new
        new = set().union(*(graph[name] for name in new)) - found
    return found


def circles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """The sets of files that reach one another."""
    reach = {name: reached(graph, name) for name in graph}
    return {
        frozenset(other for other in found if name in reach[other])
        for name, found in reach.items()
        if name in found
    }


def test_circles_are_found():
    """What the next test relies on: several circles, each in full."""
    graph = {"a": {"b"}, "b": {"c", "a"}, "c": {"a", "d"}, "d": {"e"}, "e": {"d"}, "f": {"a"}}
    assert circles(graph) == {frozenset("abc"), frozenset("de")}


def test_files_form_no_circle():
    """No file reaches itself through what it imports, inside functions and for type checking too."""
    assert circles(GRAPH) == STANDING_CIRCLES


def test_top_level_is_public_modules_and_rooms():
    """Beside public modules and rooms there are a few small private modules only."""
    entries = {path for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert {path.stem for path in entries} == set(FLOOR)
    public = {*PUBLIC, "__init__", "logs", "testing"}
    private = [path for path in entries if path.is_file() and path.stem not in public]
    assert all(path.name.startswith("_") for path in private)
    assert len(private) <= MOST_PRIVATE_MODULES
    assert all(len(path.read_text().splitlines()) <= MOST_PRIVATE_LINES for path in private)


@pytest.mark.parametrize("name", FILES)
def test_modules_are_small(name):
    """A module can be read in one go."""
    assert len(FILES[name].read_text().splitlines()) <= MOST_LINES


def functions(name: str) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The functions of a file, those inside others too."""
    return [
        node for node in ast.walk(TREES[name]) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def lines_of(first: ast.AST, last: ast.AST) -> int:
    """The lines from the beginning of one node to the end of another."""
    return last.end_lineno - first.lineno + 1


def test_functions_are_short():
    """Half of the functions have at most 6 lines, docstring included; none has more than 40 of code."""
    lengths = [
        lines_of(function, function)
        for name in FILES.keys() - INLINED_BY_HAND
        for function in functions(name)
    ]
    assert statistics.median(lengths) <= MEDIAN_LINES
    for name in FILES.keys() - INLINED_BY_HAND:
        for function in functions(name):
            first = function.body[1 if ast.get_docstring(function) and function.body[1:] else 0]
            assert lines_of(first, function) <= MOST_STATEMENT_LINES, f"{name}: {function.name}"


def test_demo_uses_the_public_modules_only():
    """The example agent imports what a user can import."""
    for name, imported in GRAPH.items():
        if name.split("/")[0] == "demo":
            assert rooms_of(imported) <= {"__init__", "demo", *PUBLIC}, name


def test_variables_are_named_in_one_place():
    """The name of an environment variable of this package stands in one room; docstrings may mention it."""
    for path in PACKAGE.rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text()))
        constants = [node.value for node in nodes if isinstance(node, ast.Constant)]
        named = [value for value in constants if str(value).startswith("CODOPERF_OTEL_")]
        assert not named or path.parent.name == "_environment_variables", f"{path}: {named}"


BLOCKED = ("opentelemetry.sdk", "opentelemetry.exporter", "grpc", "psutil", "rich")

WITHOUT = """
import sys
sys.modules.update(dict.fromkeys({blocked}))  # None there: it cannot be imported, nor found
import codoperf_otel
from codoperf_otel import {public}

@codoperf_otel.agent("a")
def work():
    with codoperf_otel.performance_context("op"):
        return 1

assert work() == 1
codoperf_otel.instrument()
assert codoperf_otel.get_performance_stats("op")["total_calls"] == 1
assert codoperf_otel.lazy_import("json").dumps([]) == "[]"
"""


def test_public_modules_work_on_the_api_alone():
    """Without SDK, exporters, grpc and psutil, every public module imports and works."""
    program = WITHOUT.format(blocked=BLOCKED, public=", ".join(PUBLIC))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_import_loads_nothing_heavy():
    """Importing the package adds no module that a program may never need to those of OpenTelemetry's API."""
    program = (
        "import sys, opentelemetry.trace, opentelemetry.metrics; before = set(sys.modules)\n"
        "import codoperf_otel; print(*set(sys.modules) - before)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    heavy = {
        "asyncio",
        "importlib.metadata",
        "concurrent.futures",
        "pathlib",
        "sqlite3",
        "psutil",
        "grpc",
        "opentelemetry.sdk",
        "opentelemetry._logs",
    }
    assert not heavy & set(loaded.split()), heavy & set(loaded.split())


def defined_in(module: object, tree: ast.Module) -> set[str]:
    """The names without an underscore that a module defines; type variables and loggers are for itself."""
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    own = (TypeVar, ParamSpec, logging.Logger)
    return {name for name in names if name[0] != "_" and not isinstance(getattr(module, name), own)}


def imported_into(tree: ast.Module, origin: str) -> set[str]:
    """The names that a module imports from another, for type checking too."""
    statements = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {alias.name for node in statements if node.module == origin for alias in node.names}


@pytest.mark.parametrize("name", [*PUBLIC, "logs", "testing"])
def test_all_is_complete_and_true(name):
    """`__all__` lists the public names that a module defines, and those of its own that the facade offers."""
    module = importlib.import_module(f"codoperf_otel.{name}")
    offered = set(module.__all__)
    expected = defined_in(module, TREES[name]) - NOT_OFFERED.get(name, set())
    reexported = imported_into(TREES["__init__"], f"codoperf_otel.{name}")
    assert len(module.__all__) == len(offered)
    assert expected | reexported <= offered
    assert all(hasattr(module, exported) for exported in offered)


def test_all_of_the_facade_is_complete_and_true():
    """`__all__` lists exactly what the facade defines, and what it imports for others."""
    origins = [f"codoperf_otel.{name}" for name in ("__about__", *PUBLIC, "sdk")]
    imported = set().union(*(imported_into(TREES["__init__"], origin) for origin in origins))
    defined = defined_in(codoperf_otel, TREES["__init__"])
    assert sorted(codoperf_otel.__all__) == sorted(defined | imported)
    assert all(hasattr(codoperf_otel, name) for name in codoperf_otel.__all__)


def test_facade_exports_every_public_name():
    """Whatever a public module offers is at the top, but for the ready-made loaders."""
    from codoperf_otel import lazy_loader

    ready_made = {
        name for name in lazy_loader.__all__ if isinstance(getattr(lazy_loader, name), lazy_loader.LazyLoader)
    }
    offered = {name for room in PUBLIC for name in importlib.import_module(f"codoperf_otel.{room}").__all__}
    assert offered - ready_made <= set(codoperf_otel.__all__)


def test_unknown_name_is_an_attribute_error():
    """The facade's lazy lookup fails as any module does."""
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        codoperf_otel.nothing  # noqa: B018


@pytest.mark.wheel
def test_the_installed_package_is_what_is_tested():
    """The tests run on the built wheel, not on the source tree."""
    assert "site-packages" in PACKAGE.parts


MAY_CATCH = {
    "_forks.py",  # in a child that has just been forked; raised when all is done
    "_calls/tasks.py",  # asked at each call, and trio has an error of its own where no task runs
    "_calls/drive_coroutines.py",  # throws it into the coroutine
    "_calls/drive_functions.py",  # it is the outcome of a future that is done
    "_imports/sources.py",  # runs in a command of this package
    "_live/conversation.py",  # runs in a thread of its own
    "_live/listener.py",  # likewise
    "sdk/ends/last_flush.py",  # the process ends, and what is left is sent all the same
    "sdk/ends/signals.py",  # likewise
    "sdk/guard.py",  # runs in the threads of exporters
    "sdk/handle.py",  # likewise
    "sdk/pipeline.py",  # in a child that has just been forked
}


SWALLOWED = {"BaseException", "Exception", "OSError", "RuntimeError", "UNREADABLE"}
DENIALS = {
    "exists", "is_block_device", "is_char_device", "is_dir", "is_fifo", "is_file", "is_junction", "is_mount",
    "is_socket", "is_symlink", "isdir", "isfile", "islink", "ismount", "lexists", "makedirs", "realpath",
    "resolve", "samefile",
}  # fmt: skip
"""They take every `OSError` for a no, some of them from Python 3.14 on only."""
COMMANDS = ("cli/", "demo/", "mcp/", "_imports/", "_report/", "_cache/upkeep")


def swallows(handler: ast.ExceptHandler) -> bool:
    """Whether what catches any `Exception`, or errors that time-outs may be, does not ask whose it is."""
    caught = {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)}
    if not caught & SWALLOWED:
        return False
    asks = {"failed", "raise_interrupt", "_raise_interrupt"}
    return not any(
        isinstance(node, ast.Raise)
        or (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in asks)
        for node in ast.walk(handler)
    )


def in_programs(swallow: type[ast.AST], does: Callable[[ast.AST], bool]) -> set[str]:
    """The files, but for those of commands, in which some node of a kind does that."""
    return {
        f"{name}.py"
        for name, tree in TREES.items()
        if not name.startswith(COMMANDS)
        and any(isinstance(node, swallow) and does(node) for node in ast.walk(tree))
    }


def test_nobody_swallows_what_a_signal_handler_raises():
    """Whoever catches every exception, or errors that time-outs may be, raises those of handlers again."""
    swallowing = in_programs(ast.ExceptHandler, swallows)
    assert swallowing <= MAY_CATCH, swallowing


def takes_for_no(call: ast.Call) -> bool:
    """Whether a call takes any error for a no, or lets it pass."""
    method, function = (getattr(call.func, part, "") for part in ("attr", "id"))
    if "suppress" in (method, function):
        return bool(
            SWALLOWED
            & {node.id for each in call.args for node in ast.walk(each) if isinstance(node, ast.Name)}
        )
    is_strict = any(keyword.arg == "strict" for keyword in call.keywords)
    makes_some = method == "mkdir" and any(keyword.arg == "exist_ok" for keyword in call.keywords)
    is_of_path = method != "resolve" or not call.args
    return makes_some or (method in DENIALS and is_of_path and not is_strict)


def test_nobody_takes_a_time_out_for_a_no():
    """What stands at a path is asked by `_telemetry.paths`, and nothing suppresses what a time-out may be."""
    assert in_programs(ast.Call, takes_for_no) == set()


def guarded(node: ast.AST, is_guarded: bool = False) -> Iterator[ast.AST]:
    """What stands in a `try` or `with` of its own function."""
    for child in ast.iter_child_nodes(node):
        if is_guarded:
            yield child
        inside = isinstance(child, ast.Try | ast.With | ast.AsyncWith)
        begins_anew = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef)
        yield from guarded(child, (is_guarded or inside) and not begins_anew)


def test_no_loop_escapes_its_guard():
    """A `while` with a condition is in no `try` or `with`: from Python 3.13 on, its jump is not covered."""
    escaping = {
        f"{name}:{node.lineno}"
        for name, tree in TREES.items()
        for node in guarded(tree)
        if isinstance(node, ast.While) and not isinstance(node.test, ast.Constant)
    }
    assert escaping == set()
