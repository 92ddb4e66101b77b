"""Child processes: which call started each, and what it took.

``replacements`` has what stands in the place of the standard library's functions meanwhile: ``starts`` around
those that start a process, ``waits`` in the place of ``os.waitpid``. ``table`` knows the processes that run,
``meter`` what those of one call took, ``sampling`` their memory.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import RLock
from types import ModuleType

from codoperf_otel import _forks, _telemetry
from codoperf_otel._calls import invocations
from codoperf_otel._calls.cells import child_process_times
from codoperf_otel._children.replacements import PROCESS, of_multiprocessing, replacements
from codoperf_otel._patching.import_hook import Hook
from codoperf_otel._patching.replacing import Replacement, replace_imported, restore
from codoperf_otel._telemetry import names
from codoperf_otel._workers.wrappers import Switch

_lock = RLock()
_replaced: list[Replacement] = []
_switch = Switch()


def start() -> None:
    """Measure the child processes that calls start from now on. Nothing is done where it is done already."""
    global _switch
    with _lock:
        if not _replaced:
            _switch = Switch()
            _telemetry.observe(names.CHILD_PROCESS_CPU_TIME, child_process_times)
            _replace(replacements(_switch))
            replace_imported(_replaced)
            invocations.programs_are_seen = bool(_replaced)
            if _replaced and PROCESS not in sys.modules:
                _hook.install()


def stop() -> None:
    """Put every original back. What is known of ended processes is reported all the same."""
    with _lock:
        _switch.is_on = False  # where others have wrapped what was replaced, it only hands on
        _hook.remove()
        restore(_replaced)
        _replaced.clear()
        invocations.programs_are_seen = False


def _replace(replacements: Iterable[Replacement]) -> None:
    for replaced in replacements:
        _replaced.append(replaced)
        replaced.put(replaced.replacement)


@contextmanager
def _around(_: ModuleType) -> Iterator[None]:
    yield
    with _lock:
        if _replaced:  # it may have ended while the module ran
            _replace(of_multiprocessing(_switch))
        _hook.remove()


_hook = Hook(PROCESS.__eq__, _around)


@_forks.in_child
def _forked() -> None:
    global _lock
    _lock = RLock()
