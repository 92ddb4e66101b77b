"""The structure: imports go down only, and the core needs the OpenTelemetry API alone."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import codoperf_otel

PACKAGE = Path(codoperf_otel.__file__).parent
PUBLIC = (
    "performance_monitor",
    "system_monitor",
    "cache_manager",
    "lazy_loader",
    "agents",
    "instrumentation",
)

# what a room may import: rooms of its own floor and of those below
FLOORS = (
    ("cli",),
    ("sdk", "demo"),
    ("__init__",),
    (*PUBLIC, "_monitoring", "logs", "testing"),
    ("_calls", "_monitor", "_scopes"),
    ("_recording",),
    ("_sites", "_usage_log"),
    ("_cache", "_readings"),
    ("_capture", "_context", "_summary"),
    ("_statistics",),
    ("_telemetry",),
    ("__about__", "_switches"),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# configure and shutdown, through the facade's __getattr__ · the recorder, and lean spans, inside a function
KNOWN_EXCEPTIONS = {("__init__", "sdk"), ("testing", "sdk"), ("instrumentation", "sdk")}


def room_of(path: Path) -> str:
    """The room that a file stands in."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """The rooms of this package that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "codoperf_otel":
            inner = (node.module or "").split(".")[1:]
            found |= {inner[0]} if inner else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            own = [a.name.split(".") for a in node.names if a.name.startswith("codoperf_otel")]
            found |= {name[1] if name[1:] else "__init__" for name in own}
    return {name if name in FLOOR else "__init__" for name in found}


def test_imports_go_down_only():
    """No room imports one from a floor above its own."""
    for path in PACKAGE.rglob("*.py"):
        room = room_of(path)
        for imported in imports_of(path) - {room}:
            assert FLOOR[imported] >= FLOOR[room] or (room, imported) in KNOWN_EXCEPTIONS, (
                f"{path}: {imported}"
            )


def test_demo_uses_the_public_modules_only():
    """The example agent imports what a user can import."""
    for path in (PACKAGE / "demo").rglob("*.py"):
        assert imports_of(path) <= {"__init__", "demo", *PUBLIC}, path


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
    """Importing the package loads no module that a program may never need."""
    program = (
        "import sys, opentelemetry.trace, opentelemetry.metrics; import codoperf_otel; print(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    heavy = {
        "asyncio",
        "importlib.metadata",
        "concurrent.futures",
        "sqlite3",
        "psutil",
        "grpc",
        "opentelemetry.sdk",
        "opentelemetry._logs",
    }
    assert not heavy & set(loaded.split()), heavy & set(loaded.split())


@pytest.mark.parametrize("name", ["", *(f".{room}" for room in PUBLIC)])
def test_all_is_complete_and_true(name):
    """`__all__` lists exactly the public names that a module defines or, for the facade, exports."""
    module = importlib.import_module(f"codoperf_otel{name}")
    assert sorted(module.__all__) == sorted(set(module.__all__))
    for exported in module.__all__:
        assert getattr(module, exported) is not None or exported in dir(module)


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
