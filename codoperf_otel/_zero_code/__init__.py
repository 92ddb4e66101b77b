"""Monitoring without touching code: functions that patterns select are wrapped when their modules load."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from types import ModuleType
from typing import Any

from codoperf_otel import _environment_variables as variables
from codoperf_otel._calls.sites import SpanRate
from codoperf_otel._patching.import_hook import Hook
from codoperf_otel._patching.one_at_a_time import OneAtATime
from codoperf_otel._patching.replacing import (
    Replacement,
    loaded_modules,
    namespace,
    replace_imported,
    restore,
)
from codoperf_otel._telemetry.interrupts import raise_interrupt
from codoperf_otel._zero_code.patterns import Patterns
from codoperf_otel._zero_code.wrapping import is_compiled, names_of, replace_in, report_failure
from codoperf_otel.performance_monitor import _monitor_selected


class Monitoring:
    """What patterns select, in the modules that are loaded and in those to come."""

    def __init__(self, patterns: Patterns, monitor: Callable[[Any], Any]) -> None:
        self._patterns = patterns
        self._monitor = monitor
        self._hook = Hook(patterns.may_select, self._attend_after)
        self._replaced: dict[str, list[Replacement]] = {}
        self.compiled: list[str] = []

    def begin(self) -> None:
        """Monitor what is loaded, and wait for the rest."""
        self._hook.install()
        for module in loaded_modules():
            if any(map(self._patterns.may_select, names_of(module))):
                self.attend(module)
        replace_imported(chain(*self._replaced.values()))

    @contextmanager
    def _attend_after(self, module: ModuleType) -> Iterator[None]:
        yield
        self.attend(module)

    def attend(self, module: ModuleType) -> None:
        """Monitor what is selected in a module that has run, for the first time or again. Never raises."""
        try:
            name = namespace(module)["__name__"]
            if is_compiled(module) and name not in self.compiled:
                self.compiled.append(name)
            replaced = [standing for standing in self._replaced.get(name, ()) if standing.holds]
            self._replaced[name] = replaced
            replace_in(module, self._patterns, self._monitor, replaced)
            if self is not _monitoring.running:  # it has ended while the module ran
                restore(replaced)
        except Exception as error:
            raise_interrupt(error)
            report_failure(repr(module), error)

    def end(self) -> None:
        """Put every original back."""
        self._hook.remove()
        restore(chain(*self._replaced.values()))


_monitoring: OneAtATime[Monitoring] = OneAtATime()


def start(
    patterns: Patterns, max_spans_per_second: float | None = None, together: SpanRate | None = None
) -> None:
    """Monitor what these patterns select, in the place of what earlier ones did.

    Without `max_spans_per_second` the variable ``CODOPERF_OTEL_MAX_SPANS_PER_SECOND`` decides. `together` is
    the rate that all functions share.

    Raises:
        ValueError: ``CODOPERF_OTEL_ENABLED`` is wrong.
    """
    enabled = variables.flag(variables.ENABLED, default=True)
    if patterns.monitor and enabled:
        monitor = partial(_monitor_selected, rate=max_spans_per_second, together=together)
        _monitoring.exchange(partial(Monitoring, patterns, monitor))
    else:
        _monitoring.stop()


def stop() -> None:
    """Put every original back."""
    _monitoring.stop()


def is_running() -> bool:
    """Whether something is monitored by patterns."""
    return _monitoring.running is not None


def compiled_modules() -> list[str]:
    """The modules that patterns select and that have no functions of Python's to replace."""
    running = _monitoring.running
    return [] if running is None else running.compiled


def attend_main() -> None:
    """Monitor what the program has defined so far. The program calls this, as it is compiled to do so."""
    if (running := _monitoring.running) is not None:
        running.attend(sys.modules["__main__"])
