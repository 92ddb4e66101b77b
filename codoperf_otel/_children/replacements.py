"""What stands in the place of the standard library's functions while child processes are measured."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from types import FunctionType
from typing import Any

from codoperf_otel._children.starts import PidOf, of_popen, of_process, reporting
from codoperf_otel._children.waits import reporting_waitpid
from codoperf_otel._patching.replacing import Replacement

PROCESS = "multiprocessing.process"


def replacements() -> list[Replacement]:
    """What is to be replaced, and by what; nothing where a wait does not return what the process took."""
    if not hasattr(os, "wait4") or find_spec("resource") is None:
        return []
    import subprocess  # not at the top: few programs have a use for it

    return [*_starts(subprocess.Popen, "__init__", of_popen), *_waits(subprocess), *of_multiprocessing()]


def of_multiprocessing() -> Iterator[Replacement]:
    """What is replaced in `multiprocessing`. To load it for that would change what ``__mp_main__`` is."""
    process = getattr(sys.modules.get(PROCESS), "BaseProcess", None)
    if process is not None:
        yield from _starts(process, "start", of_process)


def _starts(owner: type, name: str, pid_of: PidOf) -> Iterator[Replacement]:
    original = vars(owner)[name]
    yield Replacement(owner, name, original, reporting(original, pid_of))


def _waits(subprocess: Any) -> Iterator[Replacement]:
    """``os.waitpid``, and what `subprocess` holds of it beside: it waits also when modules are taken down."""
    posix = sys.modules["posix"]
    original = vars(posix)["waitpid"]
    waitpid = reporting_waitpid(original)
    yield Replacement(posix, "waitpid", original, waitpid)
    kept = getattr(subprocess, "_del_safe", None)
    if kept is not None:  # from 3.13 on
        yield Replacement(kept, "waitpid", kept.waitpid, waitpid)
        return
    poll = subprocess.Popen._internal_poll
    if type(poll) is FunctionType:  # else another library's wrapper stands there
        yield Replacement(subprocess.Popen, "_internal_poll", poll, _with_default(poll, original, waitpid))


def _with_default(function: FunctionType, original: Any, replacement: Any) -> FunctionType:
    """The function with another default in the place of one that it has."""
    defaults = tuple(replacement if each is original else each for each in function.__defaults__ or ())
    made = FunctionType(
        function.__code__, function.__globals__, function.__name__, defaults, function.__closure__
    )
    made.__qualname__ = function.__qualname__
    return made
