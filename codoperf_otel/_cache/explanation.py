"""What decides which entries of a cached function's are found again, for people."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from typing import NamedTuple

_OPTIMISED = f" -{'O' * sys.flags.optimize}" if sys.flags.optimize else ""
PYTHON = f"{sys.implementation.name} {'.'.join(map(str, sys.version_info[:3]))}{_OPTIMISED}"
_WIDTH = 100
_TITLES = 12


class CacheExplanation(NamedTuple):
    """What the keys of a cached function cover outside memory. Printed, it is a text of a few lines."""

    name: str
    """The cache, as telemetry calls it."""
    scope: str | None = None
    """What its entries are filed under, as ``codoperf cache stats`` shows it; None: they stay in memory."""
    place: str | None = None
    """The program's file, the folder of its package, or the distribution that it is installed by."""
    arguments: str = "each by value and type"
    """What counts of a call."""
    version: str | None = None
    """The text that counts in place of all below."""
    objects: tuple[str, ...] = ()
    """The functions, classes and constants that count by what they are."""
    packages: tuple[str, ...] = ()
    """The program's own top-level packages and modules of which every file counts."""
    distributions: tuple[str, ...] = ()
    """The installed packages that count by their version."""
    reason: str | None = None
    """Why whole packages count; where entries stay in memory, why that is so."""

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        if self.scope is None:
            yield f"{self.name}: entries stay in memory"
            yield from _line("because", self.reason)
            return
        yield f"{self.name}: entries outlive the process"
        yield from _line("place", self.place)
        yield from _line("arguments", self.arguments)
        yield from _line("version", self.version)
        if self.version is None:
            yield from _line("code", ", ".join(self.objects))
            yield from _line("all files of", ", ".join(self.packages))
            yield from _line("because", self.reason)
            yield from _line("installed", ", ".join(self.distributions))
            yield from _line("interpreter", PYTHON)


def _line(title: str, text: str | None) -> list[str]:
    """A title and a text, which is wrapped beside it; nothing where there is no text."""
    head = f"  {title:{_TITLES}}  "
    return textwrap.wrap(
        text or "", _WIDTH, initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False
    )
