"""What the start of the program that runs in this process costs."""

from __future__ import annotations

import threading
from collections import Counter

from codoperf_otel._imports.costs import packages, total_ns, tree
from codoperf_otel._imports.tracing import Record, Tracer
from codoperf_otel._readings.process_readings import uptime


class StartUp:
    """Measures from `begin`, when the program is about to be run, to `end`."""

    def __init__(self) -> None:
        self._tracer = Tracer(self._ended, lambda: None)
        self._main = threading.get_ident()
        self._packages: Counter[str] = Counter()
        self.before_seconds: float | None = None
        """From the start of the process until `begin`; None where the platform does not tell."""
        self.until_main_seconds: float | None = None
        """From the start of the process until the first line of ``__main__``."""
        self.imports_ns = 0
        """The time inside import statements of the main thread: those of others do not hold up the start."""

    def begin(self) -> None:
        """Measure the imports to come."""
        self.before_seconds = uptime()
        self._tracer.start()

    def main_begins(self) -> None:
        """The first line of ``__main__`` is next."""
        self.until_main_seconds = uptime()

    def end(self) -> None:
        """Measure no more."""
        self._tracer.stop()

    def most_expensive(self, count: int) -> list[tuple[str, int]]:
        """The packages whose own modules took longest, with nanoseconds."""
        return self._packages.most_common(count)

    def _ended(self, records: list[Record]) -> None:
        if threading.get_ident() != self._main:
            return
        imports = tree(records)
        self.imports_ns += total_ns(imports)
        self._packages.update({package.name: package.self_ns for package in packages(imports)})
