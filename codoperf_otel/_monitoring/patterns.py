"""Which functions are monitored: patterns over ``module.qualname``."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from fnmatch import fnmatchcase

MONITOR = "CODOPERF_OTEL_MONITOR"
EXCLUDE = "CODOPERF_OTEL_EXCLUDE"

_FORM = re.compile(r"[\w.*?!\[\]-]+")
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


def chosen(option: str, given: object, variable: str) -> tuple[str, ...]:
    """The patterns of an option, else of the variable that stands for it.

    An option is a text with commas between patterns, or a list of such texts.

    Raises:
        ValueError: it is neither, or one of them is no pattern.
    """
    if given is None:
        return _parsed(variable, [os.environ.get(variable, "")])
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{option}={given!r}: allowed is a text or a list of texts")
    return _parsed(option, texts)


def _parsed(setting: str, texts: Iterable[str]) -> tuple[str, ...]:
    patterns = [pattern.strip() for text in texts for pattern in text.split(",")]
    for pattern in patterns:
        if pattern and not _FORM.fullmatch(pattern):
            raise ValueError(
                f"{setting}={pattern!r}: allowed are dotted names with the wildcards *, ? and [...],"
                " such as 'package.*', and commas between several"
            )
    return tuple(pattern for pattern in patterns if pattern)


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
    """A class that is matched stands for its methods; what is private must be named without a wildcard."""
    if not _may_select(pattern, module):
        return False
    return any(
        fnmatchcase(name, pattern) and not _is_private(rest if pattern == name else qualname)
        for name, rest in _name_and_rest(module, qualname)
    )


def _name_and_rest(module: str, qualname: str) -> list[tuple[str, str]]:
    """The function and the classes around it by their full names, each with what of the name is below it."""
    parts = qualname.split(".")
    return [(".".join([module, *parts[:end]]), ".".join(parts[end:])) for end in range(len(parts), 0, -1)]


def _is_private(qualname: str) -> bool:
    return any(part.startswith("_") for part in qualname.split("."))
