"""Lending: what is handed to a thread belongs to the operation and the agent in force where that is done.

`start` replaces the ways in which it is handed over, in modules that are loaded and in those to come. `stop`
puts the originals back.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from codoperf_otel._patching.import_hook import Hook
from codoperf_otel._patching.one_at_a_time import OneAtATime
from codoperf_otel._patching.replacing import Replacement, namespace, replace_imported, restore
from codoperf_otel._workers.wrappers import Switch, lending_run_sync, lending_start, lending_submit

Make = Callable[[Any, Any, Switch], Any]

_WAYS: dict[str, tuple[str, str, Make]] = {
    "threading": ("Thread", "start", lending_start),
    "concurrent.futures.thread": ("ThreadPoolExecutor", "submit", lending_submit),
    "anyio.to_thread": ("", "run_sync", lending_run_sync),
}
"""By module: the class, the name, and what makes the wrapper of what stands there."""


class Lending:
    """The wrappers that are in place. Where others have wrapped one, it only hands on once this has ended."""

    def __init__(self) -> None:
        self._switch = Switch()
        self._hook = Hook(_WAYS.__contains__, self._attend_after)
        self._replaced: list[Replacement] = []

    def begin(self) -> None:
        """Replace what is loaded, and wait for the rest."""
        self._hook.install()
        for name in _WAYS:
            module = sys.modules.get(name)
            if isinstance(module, ModuleType):
                self._attend(module)
        if "anyio.to_thread" in sys.modules:  # of the three, others import only this one's function
            replace_imported(self._replaced)

    @contextmanager
    def _attend_after(self, module: ModuleType) -> Iterator[None]:
        yield
        if self._switch.is_on:  # else it has ended while the module ran
            self._attend(module)

    def _attend(self, module: ModuleType) -> None:
        class_name, name, make = _WAYS[module.__name__]
        owner = namespace(module).get(class_name) if class_name else module
        original = namespace(owner).get(name) if owner is not None else None
        if owner is not None and original is not None:  # else it is being imported just now
            replaced = Replacement(owner, name, original, make(original, owner, self._switch))
            self._replaced.append(replaced)
            replaced.put(replaced.replacement)

    def end(self) -> None:
        """Put every original back."""
        self._switch.is_on = False
        self._hook.remove()
        restore(self._replaced)


_lending: OneAtATime[Lending] = OneAtATime()


def start() -> None:
    """Lend from now on. Called again before `stop`, it does nothing."""
    _lending.start(Lending)


def stop() -> None:
    """Put every original back."""
    _lending.stop()
