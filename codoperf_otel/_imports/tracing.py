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
"""One import: a value per field. The parent is the position of another record in the same list."""

_Module: type = type(sys)
_dict_of = vars(_Module)["__dict__"].__get__

_FROZEN = "<frozen importlib._bootstrap>"


class _Running:
    """What one thread has imported so far, below an import that no other led to."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.open: list[int] = []


class Tracer:
    """Records the imports of this process, from `start` to `stop`.

    *ended* is called with an import that no other led to, and all that it led to, on the thread that did it.
    *rss* reads the resident memory in bytes.
    """

    def __init__(self, ended: Callable[[list[Record]], object], rss: Callable[[], int | None]) -> None:
        self._ended = ended
        self._rss = rss
        self._running: dict[int, _Running] = {}
        self._original: Callable[..., ModuleType] = _importing._find_and_load
        self._ours: Callable[..., ModuleType] | None = None

    def start(self) -> None:
        """Record the imports to come."""
        self._original = _importing._find_and_load

        def _find_and_load(name: str, import_: Any) -> ModuleType:
            if name in sys.modules or self._ours is None:
                return self._original(name, import_)
            running = self._running.setdefault(_thread.get_ident(), _Running())
            record, depth = self._record(name, running.open, sys._getframe(1)), len(running.open)
            try:
                self._begin(record, running)
                return self._original(name, import_)
            except BaseException as error:
                record[ERROR] = _error_type(error)
                raise
            finally:
                del running.open[depth:]
                self._end(record)
                if not depth:
                    self._running.pop(_thread.get_ident(), None)
                    self._ended(running.records)

        # by this name the interpreter takes the frame out of tracebacks, with its own
        _find_and_load.__code__ = _find_and_load.__code__.replace(co_filename=_FROZEN)
        self._ours = _importing._find_and_load = _find_and_load

    def stop(self) -> None:
        """Record no more. What others have put around it since stays, and calls the interpreter's own."""
        ours, self._ours = self._ours, None
        if _importing._find_and_load is ours:
            _importing._find_and_load = self._original

    def _record(self, name: str, is_open: list[int], frame: FrameType | None) -> Record:
        parent = is_open[-1] if is_open else None
        cpu_ns, resident, now_ns = time.thread_time_ns(), self._rss(), time.perf_counter_ns()
        return [name, parent, now_ns, 0, cpu_ns, resident, None, *_asked(frame), None]

    def _begin(self, record: Record, running: _Running) -> None:
        position = len(running.records)
        running.records.append(record)
        running.open.append(position)
        record[START] = time.perf_counter_ns()

    def _end(self, record: Record) -> None:
        record[DURATION] = time.perf_counter_ns() - record[START]
        record[CPU] = time.thread_time_ns() - record[CPU]
        before, after = record[MEMORY], self._rss()
        record[MEMORY] = None if before is None or after is None else after - before


def _rss_reader() -> Callable[[], int | None]:
    """What reads the resident memory of this process, where the system tells it."""
    try:
        statm, page = os.open("/proc/self/statm", os.O_RDONLY), os.sysconf("SC_PAGE_SIZE")
    except OSError as error:
        _raise_interrupt(error)
        return lambda: None

    def rss() -> int | None:
        try:
            fields = os.pread(statm, 128, 0).split()
        except OSError as error:  # the program has closed it
            _raise_interrupt(error)
            return None
        return int(fields[1]) * page if len(fields) > 1 and fields[1].isdigit() else None

    return rss


def _raise_interrupt(error: OSError) -> None:
    """Raise it again if it is a signal handler's: then a frame of that follows in its traceback."""
    trace = error.__traceback__
    if trace is None or trace.tb_next is not None:
        raise error


def _error_type(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _asked(frame: FrameType | None) -> tuple[str | None, int | None]:
    """The file and the line of the statement that imports; no line where compiled code does."""
    while frame is not None and _is_of_import_system(frame):
        if frame.f_code.co_name == "_load_unlocked":  # the module that is loaded has no frame
            return frame.f_locals["spec"].origin, None
        frame = frame.f_back
    return (None, None) if frame is None else (frame.f_code.co_filename, frame.f_lineno)


def _is_of_import_system(frame: FrameType) -> bool:
    """Whether it is a function of it; its own modules import as others do."""
    code = frame.f_code
    is_its_own = (
        code.co_filename.startswith("<frozen importlib") or frame.f_globals.get("__name__") == "importlib"
    )
    return is_its_own and code.co_name != "<module>"


def complete(records: list[Record]) -> None:
    """Put the starts on the epoch's clock, and add the files."""
    epoch_ns = time.time_ns() - time.perf_counter_ns()
    for record in records:
        record[START] += epoch_ns
        module = sys.modules.get(record[0])
        if issubclass(type(module), _Module):  # else it failed, or something else stands in its place
            file = _dict_of(module).get("__file__")
            record[-1] = file if type(file) is str else None


def _change(changed: dict[str, CodeType]) -> None:
    """Let files that are imported have this code."""
    own: Callable[..., CodeType | None] = _loader.get_code

    def get_code(loader: Any, name: str) -> CodeType | None:
        return changed.get(loader.get_filename(name)) or own(loader, name)

    _loader.get_code = get_code


def _put_first(folder: str) -> None:
    """Let modules be found there, as the interpreter does."""
    if not sys.flags.safe_path:
        sys.path.insert(0, folder)


def _is_folder_or_archive(path: str) -> bool:
    """Whether it has a `__main__` that can be imported."""
    for hook in sys.path_hooks:
        try:
            hook(path)
        except ImportError:
            continue
        return True
    return False


def _run_script(path: str, changed: dict[str, CodeType]) -> None:
    _put_first(os.path.dirname(os.path.realpath(path)))  # noqa: PTH120  # pathlib is not loaded
    with open(path, "rb") as file:  # noqa: PTH123
        code = changed.get(path) or compile(file.read(), path, "exec", dont_inherit=True)
    vars(sys.modules["__main__"]).update(__file__=path)
    exec(code, vars(sys.modules["__main__"]))  # noqa: S102  # that is what this is for


def _at_exit(act: Callable[[], object]) -> None:
    """Do it when threads and the program's own handlers have ended. The program imports `atexit` itself."""
    spec = _importing.BuiltinImporter.find_spec("atexit")
    atexit = _importing.module_from_spec(spec)
    spec.loader.exec_module(atexit)
    atexit.register(act)


def main() -> None:
    """Run the program that the command line names, and write the record when it has ended."""
    _, target, changes, *command = sys.argv
    with open(changes, "rb") as file:  # noqa: PTH123
        changed = marshal.load(file)  # noqa: S302  # of the command's own
    if changed:
        _change(changed)
    is_module = command[0] == "-m"
    sys.argv = command[1:] if is_module else command
    if not sys.flags.safe_path:
        del sys.path[0]
    main_module = type(sys)("__main__")
    vars(main_module)["__builtins__"] = __builtins__
    sys.modules["__main__"] = main_module
    ended: list[list[Record]] = []
    process, tracer = os.getpid(), Tracer(ended.append, _rss_reader())

    def write() -> None:
        tracer.stop()
        if os.getpid() == process:
            for records in ended:
                complete(records)
            with open(target, "wb") as record:  # noqa: PTH123
                marshal.dump(ended, record)

    _at_exit(write)
    is_packed = not is_module and _is_folder_or_archive(sys.argv[0])
    if is_module:
        _put_first(os.getcwd())  # noqa: PTH109
    if is_packed:
        sys.path.insert(0, os.path.abspath(sys.argv[0]))  # noqa: PTH100
    if is_module or is_packed:
        import runpy  # as the interpreter does, too
    tracer.start()
    if is_module or is_packed:
        runpy._run_module_as_main("__main__" if is_packed else sys.argv[0], is_module)  # type: ignore[attr-defined]
    else:
        _run_script(sys.argv[0], changed)


if __name__ == "__main__":
    main()
