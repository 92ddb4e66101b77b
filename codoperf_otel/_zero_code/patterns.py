"""Which functions are monitored: patterns over ``module.qualname``."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from fnmatch import fnmatchcase

from codoperf_otel import _environment_variables as variables

_WILDCARDS = frozenset("*?[")

# telemetry is made of these: recording them would record the recording
_NEVER = frozenset({"codoperf_otel", "opentelemetry"})
_NAMED_EXACTLY = sys.stdlib_module_names
_NAMED_FIRST = frozenset(
    (
        "certifi", "charset_normalizer", "google", "grpc", "idna", "importlib_metadata", "psutil", "requests",
        "typing_extensions", "urllib3", "wrapt", "zipp",
    )
)  # fmt: skip


def option_patterns(option: str, given: object, variable: str) -> tuple[str, ...]:
    """The patterns of an option, else of the variable that stands for it.

    An option is a text with commas between patterns, or a list of such texts.

    Raises:
        ValueError: it is neither, or one of them is no pattern.
    """
    return variables.option_or_variable(option, given, variable, variables.patterns) or ()


class Patterns:
    """What is monitored, and what is not although one of those patterns matches it."""

    def __init__(self, monitor: Iterable[str], exclude: Iterable[str] = ()) -> None:
        self.monitor = tuple(monitor)
        self.exclude = tuple(exclude)
        self._used: set[str] = set()

    @property
    def unused(self) -> list[str]:
        """The patterns that have selected nothing so far."""
        return [pattern for pattern in self.monitor if pattern not in self._used]

    def may_select(self, module: str) -> bool:
        """Whether something in that module can be selected."""
        return any(_may_select(pattern, module) for pattern in self.monitor)

    def select(self, module: str, qualname: str) -> bool:
        """Whether that function is monitored; the patterns that say so count as used."""
        found = [pattern for pattern in self.monitor if _selects(pattern, module, qualname)]
        self._used.update(found)
        return bool(found) and not any(
            fnmatchcase(name, pattern)
            for pattern in self.exclude
            for name, _ in _name_and_rest(module, qualname)
        )


def _is_exact(pattern: str) -> bool:
    return _WILDCARDS.isdisjoint(pattern)


def _may_select(pattern: str, module: str) -> bool:
    package = module.partition(".")[0]
    if package in _NEVER:
        return False
    if package in _NAMED_EXACTLY:
        return _is_exact(pattern) and pattern.startswith(f"{module}.")
    head = re.split(r"[*?[]", pattern, maxsplit=1)[0]
    if package in _NAMED_FIRST and not head.startswith(f"{package}."):
        return False
    return f"{module}.".startswith(head) or head.startswith(f"{module}.")


def _selects(pattern: str, module: str, qualname: str) -> bool:
    """A class that matches stands for its methods. What is private must be named without a wildcard."""
    if not _may_select(pattern, module):
        return False
    return any(
        fnmatchcase(name, pattern) and not _is_private(rest if pattern == name else qualname)
        for name, rest in _name_and_rest(module, qualname)
    )


def _name_and_rest(module: str, qualname: str) -> list[tuple[str, str]]:
    """The full names of the function and of the classes around it, each with the rest of the name."""
    parts = qualname.split(".")
    return [(".".join([module, *parts[:end]]), ".".join(parts[end:])) for end in range(len(parts), 0, -1)]


def _is_private(qualname: str) -> bool:
    return any(part.startswith("_") for part in qualname.split("."))
