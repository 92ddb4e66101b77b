"""A program that runs another and records its imports: ``tracing.py RECORD CHANGED (-m MODULE | SCRIPT) …``.

CHANGED is a file with the code that stands in the place of that of some files, by path.

It is run as a file, by an interpreter that has imported nothing of this package, and itself imports only what
every interpreter has loaded by then. What the program needs is so imported by the program.

`_find_and_load` is what ``-X importtime`` brackets too: finding, extension modules and frozen ones are in it.
"""

from __future__ import annotations

import _frozen_importlib
import _frozen_importlib_external
import _thread
import marshal
import os
import sys
import time
from collections.abc import Callable
from types import CodeType, FrameType, ModuleType
from typing import Any

_importing: Any = _frozen_importlib
_loader: Any = _frozen_importlib_external.SourceLoader

FIELDS = (
    *("name", "parent", "start_unix_ns", "duration_ns", "cpu_ns", "memory_bytes", "error"),
    *("asked_file", "asked_line", "file"),
)
PARENT, START, DURATION, CPU, MEMORY, ERROR = range(1, 7)
Record = list[Any]
"""One import: a value per field. The parent is the position of another record."""

_FROZEN = "<frozen importlib._bootstrap>"


class Tracer:
    """Records the imports of this process, from `start` to `stop`."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._open: dict[int, list[int]] = {}
        self._original: Callable[..., ModuleType] = _importing._find_and_load
        self._page = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
        try:
            self._statm = os.open("/proc/self/statm", os.O_RDONLY)
        except OSError:
            self._statm = -1

    def start(self) -> None:
        """Record the imports to come."""

        def _find_and_load(name: str, import_: Any) -> ModuleType:
            if name in sys.modules:
                return self._original(name, import_)
            stack = self._open.setdefault(_thread.get_ident(), [])
            record, depth = self._record(name, stack, sys._getframe(1)), len(stack)
            try:
                self._begin(record, stack)
                return self._original(name, import_)
            except BaseException as error:
                record[ERROR] = _error_type(error)
                raise
            finally:
                del stack[depth:]
                self._end(record)

        # by this name the interpreter takes the frame out of tracebacks, with its own
        _find_and_load.__code__ = _find_and_load.__code__.replace(co_filename=_FROZEN)
        _importing._find_and_load = _find_and_load

    def stop(self) -> None:
        """Record no more."""
        _importing._find_and_load = self._original

    def _record(self, name: str, stack: list[int], frame: FrameType | None) -> Record:
        parent = stack[-1] if stack else None
        cpu_ns, resident, now_ns = time.thread_time_ns(), self._rss(), time.perf_counter_ns()
        return [name, parent, now_ns, 0, cpu_ns, resident, None, *_asked(frame), None]

    def _begin(self, record: Record, stack: list[int]) -> None:
        position = len(self.records)
        self.records.append(record)
        stack.append(position)
        record[START] = time.perf_counter_ns()

    def _end(self, record: Record) -> None:
        record[DURATION] = time.perf_counter_ns() - record[START]
        record[CPU] = time.thread_time_ns() - record[CPU]
        before, after = record[MEMORY], self._rss()
        record[MEMORY] = None if before is None or after is None else after - before

    def _rss(self) -> int | None:
        if self._statm < 0:
            return None
        try:
            return int(os.pread(self._statm, 128, 0).split()[1]) * self._page
        except (OSError, ValueError, IndexError):  # the program has closed it
            return None


def _error_type(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _asked(frame: FrameType | None) -> tuple[str | None, int | None]:
    """The file and the line of the statement that imports."""
    while frame is not None and _is_of_import_system(frame):
        frame = frame.f_back
    return (None, None) if frame is None else (frame.f_code.co_filename, frame.f_lineno)


def _is_of_import_system(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    return file.startswith("<frozen importlib") or frame.f_globals.get("__name__") == "importlib"


def _complete(records: list[Record]) -> None:
    """Put the starts on the epoch's clock, and add the files."""
    epoch_ns = time.time_ns() - time.perf_counter_ns()
    for record in records:
        record[START] += epoch_ns
        try:
            file = vars(sys.modules[record[0]]).get("__file__")
        except (KeyError, TypeError):  # failed, or something else stands in its place
            continue
        record[-1] = file if type(file) is str else None


def _change(changed: dict[str, CodeType]) -> None:
    """Let files that are imported have this code."""
    own: Callable[..., CodeType | None] = _loader.get_code

    def get_code(loader: Any, name: str) -> CodeType | None:
        return changed.get(loader.get_filename(name)) or own(loader, name)

    _loader.get_code = get_code


def _run_script(path: str, changed: dict[str, CodeType]) -> None:
    sys.path.insert(0, os.path.dirname(os.path.realpath(path)))  # noqa: PTH120  # pathlib is not loaded
    with open(path, "rb") as file:  # noqa: PTH123
        code = changed.get(path) or compile(file.read(), path, "exec", dont_inherit=True)
    vars(sys.modules["__main__"]).update(__file__=path)
    exec(code, vars(sys.modules["__main__"]))  # noqa: S102  # that is what this is for


def main() -> None:
    """Run the program that the command line names, and write the record when it has ended."""
    _, target, changes, *command = sys.argv
    with open(changes, "rb") as file:  # noqa: PTH123
        changed = marshal.load(file)  # noqa: S302  # of the command's own
    if changed:
        _change(changed)
    is_module = command[0] == "-m"
    sys.argv = command[1:] if is_module else command
    del sys.path[0]
    main_module = type(sys)("__main__")
    vars(main_module)["__builtins__"] = __builtins__
    sys.modules["__main__"] = main_module
    process, tracer = os.getpid(), Tracer()
    if is_module:
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
        import runpy  # as the interpreter does, too
    tracer.start()
    try:
        if is_module:
            runpy._run_module_as_main(sys.argv[0])  # type: ignore[attr-defined]
        else:
            _run_script(sys.argv[0], changed)
    finally:
        tracer.stop()
        if os.getpid() == process:
            _complete(tracer.records)
            with open(target, "wb") as record:  # noqa: PTH123
                marshal.dump(tracer.records, record)


if __name__ == "__main__":
    main()
