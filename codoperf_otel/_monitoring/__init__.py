"""Monitoring without touching code: functions that patterns select are wrapped as their modules load."""

from __future__ import annotations

import sys
from itertools import chain
from threading import RLock
from types import ModuleType

from codoperf_otel import _switches
from codoperf_otel._monitoring.hook import Hook
from codoperf_otel._monitoring.patterns import Patterns
from codoperf_otel._monitoring.wrapping import (
    Replacement,
    loaded_modules,
    names_of,
    namespace,
    replace_imported,
    replace_in,
    restore,
    tell,
)

_lock = RLock()
_running: Monitoring | None = None


class Monitoring:
    """What patterns select, in the modules that are loaded and in those to come."""

    def __init__(self, patterns: Patterns) -> None:
        self._patterns = patterns
        self._hook = Hook(patterns.may_select, self.attend)
        self._replaced: dict[str, list[Replacement]] = {}

    def begin(self) -> None:
        """Monitor what is loaded, and wait for the rest."""
        sys.meta_path.insert(0, self._hook)
        for module in loaded_modules():
            if any(map(self._patterns.may_select, names_of(module))):
                self.attend(module)
        replace_imported(chain(*self._replaced.values()))

    def attend(self, module: ModuleType) -> None:
        """Monitor what is selected of a module that has run, or has run anew. Never raises."""
        try:
            name = namespace(module)["__name__"]
            standing = [replaced for replaced in self._replaced.get(name, ()) if replaced.holds]
            replaced = replace_in(module, self._patterns)
            self._replaced[name] = [*standing, *replaced]
            if self is not _running:  # it has ended; a loader may still tell of modules
                restore(replaced)
        except Exception as error:
            tell(repr(module), error)

    def end(self) -> None:
        """Put every original back."""
        if self._hook in sys.meta_path:
            sys.meta_path.remove(self._hook)
        restore(chain(*self._replaced.values()))


def start(patterns: Patterns) -> None:
    """Monitor what these patterns select, in the place of what earlier ones did.

    Raises:
        ValueError: ``CODOPERF_OTEL_ENABLED`` is wrong.
    """
    global _running
    enabled = _switches.flag(_switches.ENABLED, default=True)
    with _lock:
        stop()
        if patterns.monitor and enabled:
            _running = Monitoring(patterns)
            _running.begin()


def stop() -> None:
    """Put every original back."""
    global _running
    with _lock:
        if _running is not None:
            ended, _running = _running, None
            ended.end()


def is_running() -> bool:
    """Whether something is monitored by patterns."""
    return _running is not None


def attend_main() -> None:
    """Monitor what the program has defined so far; a program that is compiled for it calls this."""
    if _running is not None:
        _running.attend(sys.modules["__main__"])
