"""A script or a module, run as the interpreter itself runs it, with its own functions monitored."""

from __future__ import annotations

import ast
import builtins
import os
import pkgutil
import runpy
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import SourceFileLoader
from itertools import zip_longest
from pathlib import Path
from types import CodeType, FrameType, ModuleType, TracebackType
from typing import Any, cast

from codoperf_otel._telemetry.paths import real_path

_MARK = '__import__("codoperf_otel._zero_code", fromlist=("attend_main",)).attend_main()'
_ROOMS = ("_calls", "_children", "_frameworks", "_imports", "_patching", "_workers", "_zero_code", "cli")
_MODULES = tuple(f"codoperf_otel.{room}" for room in _ROOMS)
_FOLDERS = tuple(f"{Path(__file__).parent.parent / room}{os.sep}" for room in _ROOMS)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def run_script(path: str, main_begins: Callable[[], object]) -> None:
    """Run what ``python PATH`` runs: a file, or a folder or archive with a ``__main__`` in it.

    *main_begins* is called just before the first line of that.
    """
    file = Path(path).absolute()
    try:
        if pkgutil.get_importer(str(file)) is not None:
            sys.path.insert(0, str(file))
            _run_module("__main__", main_begins, alter_argv=False)
            return
        if not sys.flags.safe_path:
            sys.path.insert(0, str(Path(real_path(file)).parent))
        _run_file(file, main_begins)
    except BaseException as error:
        _show_as_is(error)
        raise


def run_module(name: str, main_begins: Callable[[], object]) -> None:
    """Run what ``python -m NAME`` runs."""
    if not sys.flags.safe_path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        _run_module(name, main_begins, alter_argv=True)
    except BaseException as error:
        _show_as_is(error)
        raise


def _run_file(file: Path, main_begins: Callable[[], object]) -> None:
    path = str(file)
    try:
        source = file.read_bytes()
    except OSError as error:
        reason = f"[Errno {error.errno}] {error.strerror}"
        sys.stderr.write(f"{sys.executable}: can't open file {path!r}: {reason}\n")
        raise SystemExit(2) from None
    main = _new_main()
    vars(main).update(__file__=path, __cached__=None, __loader__=SourceFileLoader("__main__", path))
    code = compile_main(source, path)
    main_begins()
    exec(code, vars(main))  # noqa: S102  # that is what this command is for


def _run_module(name: str, main_begins: Callable[[], object], *, alter_argv: bool) -> None:
    """Let `runpy` do it all, but with code that calls `attend_main`."""
    details = runpy._get_module_details  # type: ignore[attr-defined]

    def details_once(*args: Any) -> tuple[str, Any, CodeType]:
        runpy._get_module_details = details  # type: ignore[attr-defined]
        found, spec, code = details(*args)
        source = _source(spec.loader, found)
        if source is not None:
            code = compile_main(source, code.co_filename)
        main_begins()
        return found, spec, code

    _new_main()
    runpy._get_module_details = details_once  # type: ignore[attr-defined]
    runpy._run_module_as_main(name, alter_argv)  # type: ignore[attr-defined]


def _source(loader: Any, name: str) -> str | None:
    try:
        source: str | None = loader.get_source(name)
    except (AttributeError, ImportError):
        return None
    return source


def _new_main() -> ModuleType:
    """A new ``__main__``, without anything of the command that stands there now."""
    main = ModuleType("__main__")
    vars(main)["__builtins__"] = builtins
    if "__annotations__" in vars(sys.modules["__main__"]):
        vars(main)["__annotations__"] = {}
    sys.modules["__main__"] = main
    return main


def compile_main(source: str | bytes, path: str) -> CodeType:
    """Compile a program with a call to `attend_main` after its definitions, before what uses them.

    The import hook would come too late: when the program's own module is loaded, the program has ended.
    """
    try:
        tree = cast("ast.Module", compile(source, path, "exec", ast.PyCF_ONLY_AST, dont_inherit=True))
        tree.body = list(_marked(tree.body))
        return compile(tree, path, "exec", dont_inherit=True)
    except RecursionError:  # an expression may be too deep for a tree, and still run
        return compile(source, path, "exec", dont_inherit=True)


def _marked(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    defining: ast.stmt | None = None
    for statement in body:
        if defining is not None and not isinstance(statement, _DEFINITIONS):
            yield _mark_after(defining)
            defining = None
        yield statement
        if any(isinstance(node, _DEFINITIONS) for node in ast.walk(statement)):
            defining = statement
    if defining is not None:
        yield _mark_after(defining)


def _mark_after(statement: ast.stmt) -> ast.stmt:
    mark = ast.parse(_MARK).body[0]
    for node in ast.walk(mark):
        ast.copy_location(node, statement)
    return mark


def _show_as_is(error: BaseException) -> None:
    """Let the interpreter show the error, and those that led to it, without the frames of this package."""
    hook = sys.excepthook
    led, seen = [error], set()
    for one in led:
        if id(one) not in seen:
            seen.add(id(one))
            one.__traceback__ = _without_ours(one.__traceback__)
            led += [cause for cause in (one.__cause__, one.__context__) if cause is not None]
    trace = error.__traceback__

    def show(kind: type[BaseException], value: BaseException, raised: TracebackType | None) -> None:
        sys.excepthook = hook
        shown = trace if value is error else raised
        hook(kind, value.with_traceback(shown), shown)

    sys.excepthook = show


def _without_ours(trace: TracebackType | None) -> TracebackType | None:
    kept: list[TracebackType] = []
    while trace is not None:
        if not _is_ours(trace.tb_frame):
            kept.append(trace)
        trace = trace.tb_next
    for frame, following in zip_longest(kept, kept[1:]):
        frame.tb_next = following
    return kept[0] if kept else None


def _is_ours(frame: FrameType) -> bool:
    """Whether a frame is this package's: a wrapper has other globals, the import hook another file."""
    module = str(frame.f_globals.get("__name__"))
    return module.startswith(_MODULES) or frame.f_code.co_filename.startswith(_FOLDERS)
